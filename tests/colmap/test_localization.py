"""Photos against a scene of known points and poses; then the command on rendered photos."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pycolmap
import pytest

from desdis_match.colmap.localization import LocalizeConfig, Localizer
from desdis_match.colmap.mapping import read_model
from desdis_match.commands.cli import main
from desdis_match.errors import InputError
from desdis_match.features.extract import ExtractConfig
from desdis_match.matching.match import MatchConfig
from desdis_match.photos.cameras import PhotoInfo
from desdis_match.pipeline import RunConfig
from desdis_match.pipeline.reconstruct import ReconstructConfig, reconstruct
from desdis_match.storage.features_file import FeatureFile, write_features
from desdis_match.types import Features

SIZE = (640, 480)
PHOTO = PhotoInfo(SIZE)
FOCAL = 520.0
NOISE = 0.3  # pixels
NUM_POINTS = 400


def unit(values):
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def looking_at_origin(centre):
    """cam_from_world of a camera at `centre` that looks at the origin, y down."""
    forward = -np.asarray(centre, float) / np.linalg.norm(centre)
    right = np.cross([0, 1.0, 0], forward)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    return pycolmap.Rigid3d(pycolmap.Rotation3d(rotation), -rotation @ centre)


class World:
    """Points in a cube with a descriptor each, and photos of them among keypoints of nothing."""

    def __init__(self):
        self.rng = np.random.default_rng(0)
        self.points = self.rng.uniform(-1, 1, (NUM_POINTS, 3))
        self.descriptors = self.rng.normal(size=(NUM_POINTS, 64))
        self.camera = pycolmap.Camera.create_from_model_name(1, "SIMPLE_RADIAL", FOCAL, *SIZE)
        self.camera.params = [FOCAL, 320, 240, 0.02]

    def photo(self, cam_from_world, num_clutter=200):
        """Features of a photo, and the point of each keypoint (-1 for clutter), in random order."""
        seen = self.camera.img_from_cam(cam_from_world * self.points)
        inside = np.flatnonzero(np.all((seen > 0) & (seen < SIZE), axis=1))
        places = seen[inside] + NOISE * self.rng.normal(size=(len(inside), 2))
        clutter = self.rng.uniform((0, 0), SIZE, (num_clutter, 2))
        noisy = self.descriptors[inside] + 0.3 * self.rng.normal(size=(len(inside), 64))
        descriptors = unit(np.concatenate([noisy, self.rng.normal(size=(num_clutter, 64))]))
        order = self.rng.permutation(len(descriptors))
        # COLMAP's camera has (0.5, 0.5) at the centre of the top-left pixel, our keypoints have (0, 0).
        keypoints = (np.concatenate([places, clutter]) - 0.5).astype(np.float32)[order]
        points = np.concatenate([inside, np.full(num_clutter, -1)])[order]
        ones = np.ones(len(order), np.float32)
        return Features(keypoints, descriptors[order], ones, ones, ones, SIZE), points

    def model(self, photos):
        """A reconstruction by hand of {name: (cam_from_world, features, points)}."""
        model = pycolmap.Reconstruction()
        model.add_camera_with_trivial_rig(self.camera)
        ids = [model.add_point3D(xyz, pycolmap.Track(), np.zeros(3, np.uint8)) for xyz in self.points]
        for image_id, (name, (pose, features, points)) in enumerate(photos.items(), start=1):
            image = pycolmap.Image(name, features.keypoints + np.float32(0.5), 1, image_id)
            model.add_image_with_trivial_frame(image, pose)
            for i in np.flatnonzero(points >= 0):
                model.add_observation(ids[points[i]], pycolmap.TrackElement(image_id, int(i)))
        return model


CENTRES = {"near/a b.jpg": (0, 0, -4), "near/left.jpg": (-1, 0.3, -4), "near/right.jpg": (1.2, -0.2, -3.8)}


@pytest.fixture(scope="module")
def world():
    return World()


@pytest.fixture(scope="module")
def scene(world, tmp_path_factory):
    """The model, its features.h5 and the photos in them; `behind.jpg` sees the points from the other side."""
    photos = {}
    for name, centre in {**CENTRES, "behind.jpg": (0.2, 0, 4.5)}.items():
        pose = looking_at_origin(centre)
        photos[name] = (pose, *world.photo(pose))
    path = tmp_path_factory.mktemp("localize") / "features.h5"
    write_features(path, ((name, features) for name, (_, features, _) in photos.items()), {})
    return world.model(photos), path


def localized(scene, features, photo=PHOTO, **options):
    model, path = scene
    with FeatureFile(path) as file:
        return Localizer(model, file, LocalizeConfig(**options), "cpu")("query.jpg", features, photo)


def error(found, truth):
    """Degrees of rotation, and distance of the centres (the cube has side 2, the photo is taken from 4)."""
    turn = found.cam_from_world.rotation * truth.rotation.inverse()
    return np.degrees(turn.angle()), np.linalg.norm(
        found.cam_from_world.inverse().translation - truth.inverse().translation
    )


def test_a_photo_is_found_where_it_was_taken(world, scene):
    truth = looking_at_origin((0.5, 0.4, -4.2))
    features, points = world.photo(truth)
    found = localized(scene, features)
    assert found.camera_source == "model"
    assert found.num_inliers > 0.8 * (points >= 0).sum()
    turn, shift = error(found, truth)
    assert turn < 0.1 and shift < 0.01
    assert found.why == "" and found.num_keypoints == len(features) and found.num_matches >= found.num_inliers


def test_half_a_pixel_is_not_lost(world, scene):
    """Exact keypoints give an exact pose; half a pixel at 520 pixels focal length is 0.055 degrees."""
    truth = looking_at_origin((-0.4, 0.1, -4))
    features, points = world.photo(truth)
    seen = points >= 0
    exact = features.keypoints.copy()
    exact[seen] = world.camera.img_from_cam(truth * world.points[points[seen]]) - 0.5
    turn, shift = error(localized(scene, replace(features, keypoints=exact)), truth)
    assert turn < 0.003 and shift < 3e-4


@pytest.mark.parametrize(
    ("photo", "options", "source"),
    [
        (PhotoInfo((640, 481)), {}, "guess"),
        (PhotoInfo((640, 480), exif_focal=540.0), {}, "model"),
        (PhotoInfo((640, 480), exif_focal=600.0), {}, "EXIF"),
        (PHOTO, {"camera_params": "520,320,240,0.02"}, "given"),
        (PHOTO, {"camera_model": "PINHOLE", "camera_params": "520,520,320,240"}, "given"),
    ],
)
def test_the_camera_is_given_or_the_models_or_exifs_or_found(world, scene, photo, options, source):
    truth = looking_at_origin((0.5, 0.4, -4.2))
    found = localized(scene, world.photo(truth)[0], photo, **options)
    assert found.camera_source == source
    turn, shift = error(found, truth)
    assert turn < 0.5 and shift < 0.1
    assert found.camera.mean_focal_length() == pytest.approx(FOCAL, rel=0.02)
    if source in ("model", "given"):
        assert found.camera.mean_focal_length() == FOCAL


def test_few_photos_are_chosen_by_what_they_share(world, scene):
    features, _ = world.photo(looking_at_origin((0.3, 0, -4)))
    # Of these 100 keypoints only, the photos of the model show different shares: `behind` none.
    model, path = scene
    with FeatureFile(path) as file:
        stored = {name: file.get(name) for name in file.names()}
        stored["behind.jpg"] = replace(
            stored["behind.jpg"],
            descriptors=unit(np.random.default_rng(5).normal(size=stored["behind.jpg"].descriptors.shape)),
        )
        other = path.with_name("others.h5")
        write_features(other, stored.items(), {})
    found = localized((model, other), features, num_images=3)
    assert set(found.images) == set(CENTRES)
    assert list(found.images.values()) == sorted(found.images.values(), reverse=True)
    assert len(localized(scene, features, num_images=1).images) == 1


def test_the_seed_decides(world, scene):
    features, _ = world.photo(looking_at_origin((0.3, 0.2, -4)))
    first, again = (localized(scene, features, seed=3).cam_from_world.matrix() for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_a_photo_of_something_else_has_no_pose_and_says_why(world, scene):
    features, _ = world.photo(looking_at_origin((0, 0, -4)))
    strange = unit(np.random.default_rng(9).normal(size=features.descriptors.shape))
    found = localized(scene, replace(features, descriptors=strange), match=MatchConfig("mnn"))
    assert found.cam_from_world is None and found.num_matches > 20
    assert "agree on a pose, 20 must" in found.why


def test_a_photo_without_keypoints(scene):
    none = np.empty(0, np.float32)
    features = Features(np.empty((0, 2), np.float32), np.empty((0, 64), np.float32), none, none, none, SIZE)
    found = localized(scene, features)
    assert found.cam_from_world is None and found.why == "it has no keypoints"


def test_features_of_another_run_are_refused(scene, tmp_path):
    model, path = scene
    with FeatureFile(path) as file:
        stored = {name: file.get(name) for name in file.names()}

    def refused(items, message):
        write_features(tmp_path / "features.h5", items.items(), {})
        with FeatureFile(tmp_path / "features.h5") as file, pytest.raises(InputError, match=message):
            Localizer(model, file)

    first = "behind.jpg"
    features = stored[first]
    refused({k: v for k, v in stored.items() if k != first}, "has no image 'behind.jpg' of the model")
    fewer = Features(*(getattr(features, f)[1:] for f in list(features.__dict__)[:-1]), SIZE)
    refused({**stored, first: fewer}, "'behind.jpg' has .* keypoints in the model")
    moved = replace(features, keypoints=features.keypoints + np.float32(0.5))
    refused({**stored, first: moved}, "keypoints of 'behind.jpg' .* are not those of the model")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_images": -1}, "num_images"),
        ({"min_inliers": 3}, "min_inliers is 3; it must be from 4"),
        ({"max_error": 0.0}, "max_error"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        LocalizeConfig(**options)


@pytest.fixture(scope="module")
def photographed(scene_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """out/, a reconstruction of all photos of the rendered scene but the third, which lies in new photos/."""
    folder = tmp_path_factory.mktemp("photographed")
    shutil.copytree(scene_folder / "images", folder / "photos")
    third = sorted((folder / "photos").iterdir())[2]
    (folder / "new photos").mkdir()
    third.rename(folder / "new photos" / "ü 1.png")
    extract = ExtractConfig(max_keypoints=800, descriptor="rootsift")
    run = RunConfig(device="cpu", workers=1)
    reconstruct(ReconstructConfig(folder / "photos", folder / "out", extract=extract, run=run, quiet=True))
    return folder


def command(folder, *more):
    out = folder / "out"
    arguments = [
        "--model",
        out / "sparse/0",
        "--features",
        out / "features.h5",
        "--queries",
        folder / "new photos",
    ]
    return main(
        ["localize", *map(str, [*arguments, "--output", folder / "localized", "--workers", 1, *more])]
    )


def test_the_command_places_a_photo_among_its_neighbours(photographed, capsys):
    shutil.rmtree(photographed / "localized", ignore_errors=True)
    (photographed / "new photos" / "broken.png").write_bytes(b"no photo")
    cv2.imwrite(
        str(photographed / "new photos" / "noise.png"), np.random.default_rng(0).integers(0, 255, (300, 400))
    )
    assert command(photographed) == 0
    shown = capsys.readouterr().out
    assert "1 of 3 photos localized" in shown and "no pose" in shown
    (line,) = (photographed / "localized/poses.txt").read_text(encoding="utf-8").splitlines()
    name, *numbers = line.rsplit(" ", 7)
    assert name == "ü 1.png"
    w, x, y, z, *translation = map(float, numbers)
    pose = pycolmap.Rigid3d(pycolmap.Rotation3d([x, y, z, w]), translation)
    model = read_model(photographed / "out/sparse/0")
    centres = {model.image(i).name: model.image(i).projection_center() for i in model.reg_image_ids()}
    ordered = [centres[name] for name in sorted(centres)]  # photos 1, 2, 4, 5, 6 of a row around the scene
    here, step = pose.inverse().translation, np.linalg.norm(ordered[2] - ordered[1])
    assert np.linalg.norm(here - ordered[1]) < step and np.linalg.norm(here - ordered[2]) < step
    table = json.loads((photographed / "localized/poses.json").read_text(encoding="utf-8"))
    assert table["ü 1.png"]["localized"] and table["ü 1.png"]["inliers"] >= 20
    assert not table["noise.png"]["localized"] and "agree on a pose" in table["noise.png"]["why"]
    assert not table["broken.png"]["localized"] and table["broken.png"]["keypoints"] == 0


def test_the_command_fails_when_nothing_is_localized(photographed, capsys):
    assert command(photographed, "--min-inliers", 5000) == 3
    assert "none of" in capsys.readouterr().err


def test_the_command_names_what_is_missing(photographed, capsys):
    assert command(photographed, "--model", photographed) == 2
    assert "no readable COLMAP model" in capsys.readouterr().err


def test_a_photo_on_its_side_is_found_at_the_same_place(photographed):
    folder = photographed / "on its side"
    folder.mkdir(exist_ok=True)
    upright = cv2.imread(str(next((photographed / "new photos").glob("ü*"))))
    cv2.imwrite(str(folder / "upright.png"), upright)
    cv2.imwrite(str(folder / "turned.png"), cv2.rotate(upright, cv2.ROTATE_90_CLOCKWISE))
    arguments = ["--queries", folder, "--output", photographed / "localized on its side"]
    assert command(photographed, *arguments) == 0
    table = json.loads((photographed / "localized on its side/poses.json").read_text(encoding="utf-8"))
    assert table["upright.png"]["localized"] and table["turned.png"]["localized"]
    assert table["turned.png"]["inliers"] > 0.7 * table["upright.png"]["inliers"]


def test_the_models_own_folder_is_no_output(photographed, capsys):
    before = (photographed / "out/features.h5").read_bytes()
    assert command(photographed, "--output", photographed / "out") == 2
    assert "holds the features of the model" in capsys.readouterr().err
    assert (photographed / "out/features.h5").read_bytes() == before


def test_no_run_is_an_output_wherever_the_features_lie(photographed, tmp_path, capsys):
    elsewhere = shutil.copy(photographed / "out/features.h5", tmp_path / "features.h5")
    before = (photographed / "out/features.h5").read_bytes()
    assert command(photographed, "--features", elsewhere, "--output", photographed / "out") == 2
    assert "holds a run" in capsys.readouterr().err
    assert (photographed / "out/features.h5").read_bytes() == before
    for part in ("pairs.txt", "matches.h5", "two_view.h5", "database.db", "report.json", ".usage.json"):
        unfinished = tmp_path / part.strip(".")
        unfinished.mkdir()
        (unfinished / part).write_bytes(b"")
        assert command(photographed, "--output", unfinished) == 2
        assert "holds a run" in capsys.readouterr().err
        assert [path.name for path in unfinished.iterdir()] == [part]


def test_features_of_other_photos_are_not_replaced(photographed, tmp_path, capsys):
    """Those that a killed call left are."""
    assert command(photographed, "--output", tmp_path / "new") == 0
    (tmp_path / "new/poses.json").unlink()
    assert command(photographed, "--output", tmp_path / "new") == 0
    (tmp_path / "other").mkdir()
    elsewhere = shutil.copy(photographed / "out/features.h5", tmp_path / "other/features.h5")
    assert command(photographed, "--output", tmp_path / "other") == 2
    assert "is of other photos or other options" in capsys.readouterr().err
    assert elsewhere.read_bytes() == (photographed / "out/features.h5").read_bytes()

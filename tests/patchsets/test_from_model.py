"""build-patches on a rendered scene, where the true correspondences are known, and on wrong input."""

import contextlib
import dataclasses
import shutil

import numpy as np
import pycolmap
import pytest
from pointcloud import FOCAL, SIZE, make_point_cloud
from smallmodel import make_model

from desdis_match.commands.build_patches import main
from desdis_match.commands.cli import run
from desdis_match.descriptors import load_descriptor
from desdis_match.distill.validate import galleries, score
from desdis_match.errors import InputError
from desdis_match.patchsets.from_model import (
    BuildPatchesConfig,
    PatchObservations,
    build_patches,
    consistent,
    observe,
    same_places,
)
from desdis_match.patchsets.patchfile import read_patch_file
from desdis_match.pipeline import RunConfig
from desdis_match.pipeline.reconstruct import ReconstructConfig, reconstruct
from desdis_match.storage.features_file import write_features
from desdis_match.synthetic.courtyard import read_scene
from desdis_match.synthetic.geometry import cast, project
from desdis_match.types import Features


@pytest.fixture(scope="module")
def model(scene_folder, tmp_path_factory):
    """A reconstruction of the rendered scene: its folder."""
    output = tmp_path_factory.mktemp("model")
    run = RunConfig(workers=1)  # six small photos are done before other processes have started
    reconstruct(ReconstructConfig(scene_folder / "images", output, run=run, quiet=True))
    return output


@pytest.fixture(scope="module")
def built(scene_folder, model, tmp_path_factory):
    config = BuildPatchesConfig(
        images=scene_folder / "images",
        model=model / "sparse" / "0",
        output=tmp_path_factory.mktemp("p") / "p.h5",
    )
    return config, build_patches(config)


def test_patches_of_a_point_show_the_same_place(scene_folder, built, model):
    """Follow each observation's ray to the true surface: all hits of a point are one place in its patch."""
    config, made = built
    assert made.num_points > 200
    reconstruction = pycolmap.Reconstruction(config.model)
    seen = consistent(observe(reconstruction, model / "features.h5", config), reconstruction, config)
    surfaces, views, _ = read_scene(scene_folder)
    by_name = {view.name: view for view in views}
    apart = []
    for point in np.unique(seen.points)[::5]:
        rows = np.flatnonzero(seen.points == point)
        hits = []
        for row in rows:
            view = by_name[reconstruction.images[int(seen.images[row])].name]
            hits.append(cast(surfaces, view, seen.frames[row : row + 1, :2]).points[0])
        first = by_name[reconstruction.images[int(seen.images[rows[0]])].name]
        places, _ = project(np.array(hits), first)
        apart.append(np.linalg.norm(places - places[0], axis=1).max() / seen.frames[rows[0], 2])
    assert np.mean(np.array(apart) < 0.25) > 0.95  # of the half side of the patch


def test_patches_of_a_point_look_alike(built):
    """Any descriptor finds a patch's partner among hundreds only if scale and orientation agree."""
    _, made = built
    sets = galleries(made, 1, 200)
    assert score(load_descriptor("rootsift", device="cpu"), made, sets).map > 0.9


def test_the_file_holds_what_was_built(built):
    config, made = built
    kept = read_patch_file(config.output)
    assert np.array_equal(kept.patches, made.patches)
    assert np.array_equal(kept.groups, made.groups)
    assert kept.sources == ("build-patches:images",)
    assert made.patches.shape[1:] == (64, 64) and set(made.context) == {1.5}
    _, counts = np.unique(made.points, return_counts=True)
    assert counts.min() >= 2 and counts.max() <= config.max_views


def exact_model(folder):
    """A 4-camera point cloud as a model whose keypoints are exact, and features of the same keypoints."""
    cloud = make_point_cloud(folder, num_cameras=4, num_points=60)
    poses = {name: pycolmap.Rigid3d(pose) for name, pose in cloud.cam_from_world.items()}
    model = make_model(poses, cloud.points, FOCAL, SIZE)
    model.update_point_3d_errors()
    # Keypoint i of every photo is point i there, so features are written in that order too.
    frames = {
        name: Features(
            cloud.keypoints[name][np.argsort(cloud.order[name])].astype(np.float32),
            np.zeros((60, 4), np.float32),
            *(np.full(60, value, np.float32) for value in (1.0, 12.0, 0.0)),
            SIZE,
        )
        for name in cloud.names
    }
    write_features(folder / "features.h5", frames.items(), {})
    return model, frames


def test_keypoints_of_model_and_file_are_in_one_frame(tmp_path):
    """Half a pixel lost between COLMAP's frame and ours would be an error of 0.7 pixels everywhere."""
    model, frames = exact_model(tmp_path)
    config = BuildPatchesConfig(images=tmp_path, output=tmp_path / "p.h5", min_angle=1.0)
    seen = observe(model, tmp_path / "features.h5", config)
    assert len(seen) == 4 * 60
    assert seen.errors.max() < 1e-3
    names = {number: image.name for number, image in model.images.items()}
    for point, image, frame in zip(seen.points, seen.images, seen.frames, strict=True):
        np.testing.assert_array_equal(frame[:2], frames[names[image]].keypoints[point - 1])


@pytest.mark.parametrize(("off", "refused"), [(2.0, False), (2.1, True)])
def test_keypoints_may_have_moved_as_far_as_alignment_moves_them(tmp_path, off, refused):
    model, frames = exact_model(tmp_path)
    for sign in (1, -1):  # either way: a frame half a pixel off would allow more on one side
        moved = {
            name: dataclasses.replace(one, keypoints=one.keypoints + np.float32([sign * off, 0]))
            for name, one in frames.items()
        }
        write_features(tmp_path / "features.h5", moved.items(), {})
        config = BuildPatchesConfig(images=tmp_path, output=tmp_path / "p.h5", min_angle=1.0)
        with pytest.raises(InputError, match="is not what") if refused else contextlib.nullcontext():
            observe(model, tmp_path / "features.h5", config)


def test_points_at_one_place_are_one_group(built, model):
    """Every two points whose true distance is below the bound share a group; far ones do not."""
    config, _ = built
    reconstruction = pycolmap.Reconstruction(config.model)
    seen = consistent(observe(reconstruction, model / "features.h5", config), reconstruction, config)
    groups = same_places(seen, reconstruction)
    points, rows = np.unique(seen.points, return_index=True)
    places = np.array([reconstruction.points3D[int(point)].xyz for point in points])
    distance = np.linalg.norm(places[:, None] - places[None], axis=2)
    near = distance < 0.15 * seen.sizes[rows][:, None]
    same = groups[rows][:, None] == groups[rows][None]
    assert same[near].all()
    assert len(points) > len(np.unique(groups)) > len(points) / 2
    assert same[distance > np.median(distance)].mean() < 0.01


def test_observations_that_disagree_are_left_out(built, model):
    config, _ = built
    reconstruction = pycolmap.Reconstruction(config.model)
    seen = observe(reconstruction, model / "features.h5", config)
    clean = consistent(seen, reconstruction, config)
    points, counts = np.unique(clean.points, return_counts=True)
    point = points[counts >= 4][0]
    rows = np.flatnonzero(clean.points == point)
    four = clean.subset(rows[:4])
    four = dataclasses.replace(
        four, sizes=np.full(4, four.sizes[0])
    )  # they may differ by nearly the tolerance

    def without(**columns: np.ndarray) -> PatchObservations:
        return consistent(dataclasses.replace(four, **columns), reconstruction, config)

    assert len(without()) == 4
    doubled = four.sizes.copy()
    doubled[2] *= 2
    assert without(sizes=doubled).images.tolist() == sorted_without(four, 2)
    turned = four.directions.copy()
    turned[1] *= -1
    assert without(directions=turned).images.tolist() == sorted_without(four, 1)


def sorted_without(seen: PatchObservations, row: int) -> list[int]:
    """Images of the other rows, best reprojection first."""
    rows = np.delete(np.arange(len(seen)), row)
    return seen.images[rows[np.argsort(seen.errors[rows], kind="stable")]].tolist()


def test_what_does_not_belong_together_is_refused(scene_folder, built, model, tmp_path, capsys):
    config, _ = built
    images = tmp_path / "images"
    shutil.copytree(scene_folder / "images", images)
    first = sorted(images.iterdir())[0]
    import cv2

    cv2.imwrite(str(first), cv2.resize(cv2.imread(str(first)), (200, 150)))
    with pytest.raises(InputError, match="200x150, but the model's camera 400x300"):
        build_patches(dataclasses.replace(config, images=images, output=tmp_path / "p.h5"))
    import h5py

    other = tmp_path / "features.h5"
    shutil.copy(model / "features.h5", other)
    with h5py.File(other, "r+") as file:
        file[f"{first.name}/keypoints"][...] += 20
    with pytest.raises(InputError, match="is not what the model was made from"):
        build_patches(dataclasses.replace(config, features=other, output=tmp_path / "p.h5"))
    other.unlink()
    with pytest.raises(InputError, match=r"no features\.h5 or database\.db beside"):
        shutil.copytree(config.model, tmp_path / "lonely")
        build_patches(dataclasses.replace(config, model=tmp_path / "lonely", output=tmp_path / "p.h5"))
    command = ["--images", str(images), "--model", str(tmp_path / "none"), "--output", str(tmp_path / "p.h5")]
    assert run(main, command) == 2
    assert "holds no readable COLMAP model" in capsys.readouterr().err
    assert not (tmp_path / "p.h5").exists()

"""build-patches on a rendered scene, where the true correspondences are known, and on wrong input."""

import dataclasses
import shutil

import numpy as np
import pycolmap
import pytest

from desdis_match.commands.build_patches import main
from desdis_match.commands.cli import run
from desdis_match.descriptors import load_descriptor
from desdis_match.distill.validate import galleries, score
from desdis_match.errors import InputError
from desdis_match.patchsets.from_model import (
    BuildPatchesConfig,
    Observations,
    build_patches,
    consistent,
    observe,
    same_places,
)
from desdis_match.patchsets.patchfile import read_patch_file
from desdis_match.pipeline.reconstruct import ReconstructConfig, reconstruct
from desdis_match.synthetic.courtyard import read_scene
from desdis_match.synthetic.geometry import cast, project


@pytest.fixture(scope="module")
def model(scene_folder, tmp_path_factory):
    """A reconstruction of the rendered scene: its folder."""
    output = tmp_path_factory.mktemp("model")
    reconstruct(ReconstructConfig(images=scene_folder / "images", output=output, quiet=True))
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

    def without(**columns: np.ndarray) -> Observations:
        return consistent(dataclasses.replace(four, **columns), reconstruction, config)

    assert len(without()) == 4
    doubled = four.sizes.copy()
    doubled[2] *= 2
    assert without(sizes=doubled).images.tolist() == sorted_without(four, 2)
    turned = four.directions.copy()
    turned[1] *= -1
    assert without(directions=turned).images.tolist() == sorted_without(four, 1)


def sorted_without(seen: Observations, row: int) -> list[int]:
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

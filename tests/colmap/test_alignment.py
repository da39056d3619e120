"""Alignment of tracks: places move to where the photos agree, and a model's errors shrink."""

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from desdis_match.colmap.alignment import AlignConfig, Observations, align, align_model
from desdis_match.conventions import FRAME_SCALE
from desdis_match.distill.warps import texture

A = np.array([[1.05, 0.12, 3.3], [-0.10, 0.93, 20.7]])
"""second_from_first, pixels."""
COUNT = 120


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """A texture, and the same through A with other gain and offset; its lower half shows something else."""
    folder = tmp_path_factory.mktemp("photos")
    first = texture(np.random.default_rng(0), 400)
    second = cv2.warpAffine(first, A, (400, 400), flags=cv2.INTER_CUBIC).astype(float) * 0.7 + 30
    second[200:] = texture(np.random.default_rng(1), 400)[200:]
    cv2.imwrite(str(folder / "first.png"), first)
    cv2.imwrite(str(folder / "second.png"), np.clip(second, 0, 255).astype(np.uint8))
    return folder


def tracks(noise: float) -> tuple[Observations, np.ndarray]:
    """COUNT tracks of two observations, the second off by `noise` pixels; (COUNT, 2) where it belongs."""
    rng = np.random.default_rng(2)
    xy = rng.uniform(50, 350, (COUNT, 2))
    truth = xy @ A[:, :2].T + A[:, 2]
    frames = np.zeros((2 * COUNT, 2, 3))
    frames[:COUNT, :, :2], frames[COUNT:, :, :2] = 8 * np.eye(2), 8 * A[:, :2]
    frames[:COUNT, :, 2], frames[COUNT:, :, 2] = xy, truth + rng.normal(0, noise, (COUNT, 2))
    index = np.arange(COUNT)
    photo = np.repeat([0, 1], COUNT)
    twice = np.tile(index, 2)
    return Observations(photo, twice, twice, frames, ("first.png", "second.png")), truth


def test_places_come_back_to_a_twentieth_of_a_pixel(photos):
    seen, truth = tracks(noise=0.5)
    found = align(seen, photos, AlignConfig())
    same = truth[:, 1] < 180
    moved = found.moved[COUNT:]
    error = np.linalg.norm(found.xy[COUNT:] - truth, axis=1)
    assert moved[same].mean() > 0.85
    assert np.median(error[same & moved]) < 0.05
    assert np.median(np.linalg.norm(seen.frames[COUNT:, :, 2] - truth, axis=1)) > 0.5
    assert (found.after >= found.before).all()


def test_what_does_not_agree_and_references_stay(photos):
    seen, truth = tracks(noise=0.5)
    found = align(seen, photos, AlignConfig())
    other = truth[:, 1] > 220
    assert found.moved[COUNT:][other].mean() < 0.1
    still = ~found.moved
    np.testing.assert_array_equal(found.xy[still], seen.frames[still][:, :, 2])
    assert not found.moved[:COUNT].any()


def test_the_size_at_which_photos_are_read_does_not_shift_places(photos):
    seen, truth = tracks(noise=0.3)
    found = align(seen, photos, AlignConfig(max_size=300))
    good = found.moved[COUNT:] & (truth[:, 1] < 180)
    bias = np.median(found.xy[COUNT:][good] - truth[good], axis=0)
    assert np.abs(bias).max() < 0.03


def test_a_models_errors_shrink(scene_folder):
    import pycolmap

    path = scene_folder / "ground_truth" / "sparse"
    errors = []
    for aligned in (False, True):
        model = pycolmap.Reconstruction(str(path))
        rng = np.random.default_rng(3)
        for image in sorted(model.images.values(), key=lambda one: one.name):
            for point in image.points2D:
                point.xy = point.xy + rng.normal(0, 0.4, 2)
        count = {image.name: len(image.points2D) for image in model.images.values()}
        scales = {name: np.full(n, 1.5 * FRAME_SCALE, np.float32) for name, n in count.items()}
        features = SimpleNamespace(get=lambda name, scales=scales: SimpleNamespace(scales=scales[name]))
        if aligned:
            found = align_model(model, scene_folder / "images", features)
            assert 0.4 < found.moved.mean() < 1
        else:
            options = pycolmap.BundleAdjustmentOptions()
            options.print_summary = False
            pycolmap.bundle_adjustment(model, options)
            model.update_point_3d_errors()
        errors.append(np.median([point.error for point in model.points3D.values()]))
    assert errors[1] < 0.6 * errors[0]

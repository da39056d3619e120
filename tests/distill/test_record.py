"""What a run shows in TensorBoard: patches as a picture, distances as histograms."""

import math

import numpy as np
import pytest
import torch

from desdis_match.distill.record import Record
from desdis_match.distill.validate import glance
from desdis_match.patchsets.patchset import Pairs, PatchSet


def shade(patches):
    """(N, 1, 32, 32) -> (N, 2) unit vectors whose angle, radians, is the patch's shade in [0, 1]."""
    angle = patches.mean(dim=(1, 2, 3))
    return torch.stack([angle.cos(), angle.sin()], dim=1)


@pytest.fixture
def seen():
    """Three points of two flat patches: shades 0 and 51, 102 and 102, 204 and 153, of 255."""
    patches = np.full((6, 64, 64), np.array([0, 51, 102, 102, 204, 153])[:, None, None], np.uint8)
    points = np.repeat(np.arange(3), 2)
    held = PatchSet(patches, points, points, points * 0, np.full(6, 1.5, np.float32), ("s",), ("l",))
    rows = np.array([0, 2, 4])
    return glance(shade, held, Pairs(rows, rows + 1, np.arange(3), np.zeros(3, np.int64)), number=2)


def test_a_glance_has_distances_of_matches_and_of_the_nearest_others(seen):
    chord = [2 * math.sin(angle / 2) for angle in (0.2, 0.0, 0.2)]
    np.testing.assert_allclose(seen.right, chord, atol=1e-3)
    # 0 is 0.4 from 102; 102 is 0.2 from 51 and from 153; 204 is 0.4 from 102.
    np.testing.assert_allclose(seen.wrong, [2 * math.sin(a / 2) for a in (0.4, 0.2, 0.4)], atol=1e-3)
    assert seen.patches.shape == (3, 2, 32, 32)
    np.testing.assert_allclose(seen.patches[:, :, 0, 0], [[0, 0.4], [0.2, 0.4], [0.2, 0.4]], atol=1e-3)


def test_tensorboard_gets_the_picture_and_two_histograms(seen, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    record = Record(tmp_path, 0, tensorboard=True)
    assert record.shows
    record.show(7, seen)
    record.close()
    events = accumulator.EventAccumulator(str(tmp_path)).Reload()
    (picture,) = events.Images(events.Tags()["images"][0])
    assert (picture.step, picture.width, picture.height) == (7, 64, 96)
    assert [tag.replace("_", " ") for tag in sorted(events.Tags()["histograms"])] == [
        "distance of matches",
        "distance of the nearest other",
    ]


def test_without_tensorboard_nothing_is_shown(seen, tmp_path):
    record = Record(tmp_path, 0, tensorboard=False)
    assert not record.shows
    record.show(7, seen)
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]

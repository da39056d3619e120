"""The detectors' common promises: order, budget, masks, thresholds, no duplicates, orientation and shape."""

import cv2
import numpy as np
import pytest
import torch
from pictures import blobs

from desdis_match.errors import InputError
from desdis_match.features.detectors import (
    DETECTORS,
    DetectorConfig,
    _near_pairs,
    detect,
    strongest,
    without_duplicates,
)
from desdis_match.features.frames import laf_angles, laf_scales
from desdis_match.features.scalespace import Extrema


@pytest.fixture(scope="module")
def photo():
    """(180, 240) float32 in [0, 1] with blobs of many sizes."""
    return blobs((240, 180), (9, 30, 90), seed=0, interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("detector", sorted(DETECTORS))
@pytest.mark.parametrize("orientation", ["upright", "dominant", "multi"])
def test_every_detector_keeps_the_contract(photo, detector, orientation):
    found = detect(photo, DetectorConfig(detector, 150, orientation))
    assert found.lafs.shape == (len(found), 2, 3) and found.lafs.dtype == torch.float32
    assert 100 < len(found) <= 150
    assert (found.scores[1:] <= found.scores[:-1]).all() and (found.scores >= 0.004).all()
    xy, scales = found.lafs[:, :, 2], laf_scales(found.lafs)
    assert (xy > 0).all() and (xy < torch.tensor([240.0, 180.0])).all()
    assert (scales > 0.6).all() and (scales < 60).all()
    torch.testing.assert_close(found.pyramid.levels[0], torch.from_numpy(photo))


def test_the_same_photo_gives_the_same_frames(photo):
    config = DetectorConfig("dog+hessian", orientation="multi")
    assert torch.equal(detect(photo, config).lafs, detect(photo, config).lafs)


def test_the_budget_keeps_the_best(photo):
    all_of_them = detect(photo, DetectorConfig(max_keypoints=10_000, orientation="upright"))
    few = detect(photo, DetectorConfig(max_keypoints=40, orientation="upright"))
    assert len(all_of_them) > 100 and len(few) == 40
    torch.testing.assert_close(few.lafs, all_of_them.lafs[:40])


@pytest.mark.parametrize("detector", sorted(DETECTORS))
def test_no_keypoint_lies_where_the_mask_is_false(photo, detector):
    mask = np.zeros(photo.shape, bool)
    mask[:, 100:170] = True
    found = detect(photo, DetectorConfig(detector, orientation="upright"), mask)
    free = detect(photo, DetectorConfig(detector, orientation="upright"))
    x = found.lafs[:, 0, 2]
    assert len(found) > 20 and (x >= 99.5).all() and (x < 169.5).all()
    assert len(found) == ((free.lafs[:, 0, 2] >= 99.5) & (free.lafs[:, 0, 2] < 169.5)).sum()
    assert (
        len(detect(photo, DetectorConfig(detector, orientation="upright"), np.zeros(photo.shape, bool))) == 0
    )


@pytest.mark.parametrize("detector", sorted(DETECTORS))
@pytest.mark.parametrize("orientation", ["upright", "dominant", "multi"])
def test_a_photo_without_structure_gives_no_keypoints(detector, orientation):
    for affine in (False, True):
        found = detect(
            np.full((64, 64), 0.5, np.float32),
            DetectorConfig(detector, orientation=orientation, affine=affine),
        )
        assert found.lafs.shape == (0, 2, 3) and found.scores.shape == (0,)


@pytest.mark.parametrize("detector", ["dog", "hessian", "hessian-multiscale"])
def test_a_photo_turned_by_a_quarter_gives_turned_frames(photo, detector):
    config = DetectorConfig(detector, 10_000, "dominant")
    before, after = detect(photo, config), detect(np.rot90(photo).copy(), config)
    # np.rot90 turns counter-clockwise: pixel (x, y) goes to (y, width - 1 - x).
    places = torch.stack([before.lafs[:, 1, 2], 239 - before.lafs[:, 0, 2]], 1)
    distance, nearest = torch.cdist(
        places, after.lafs[:, :, 2], compute_mode="donot_use_mm_for_euclid_dist"
    ).min(1)
    same = distance < 0.1
    assert same.float().mean() > 0.85  # the coarser octaves' pixels fall elsewhere
    turn = torch.rad2deg(laf_angles(after.lafs)[nearest] - laf_angles(before.lafs))[same]
    assert ((torch.remainder(turn - 90 + 180, 360) - 180).abs() < 3).float().mean() > 0.95


def test_wrong_options_are_refused():
    for options in (
        {"detector": "fast"},
        {"orientation": "down"},
        {"max_keypoints": 0},
        {"contrast_threshold": -1.0},
    ):
        with pytest.raises(InputError):
            DetectorConfig(**options)


def test_affine_frames_keep_their_area_and_place(photo):
    round_ones = detect(photo, DetectorConfig("hessian", 200, "upright"))
    shaped = detect(photo, DetectorConfig("hessian", 200, "upright", affine=True))
    torch.testing.assert_close(shaped.lafs[:, :, 2], round_ones.lafs[:, :, 2])
    torch.testing.assert_close(laf_scales(shaped.lafs), laf_scales(round_ones.lafs), rtol=1e-3, atol=1e-3)
    assert laf_angles(shaped.lafs).abs().max() < 1e-5


def test_affine_shape_undoes_a_stretch():
    blob = np.fromfunction(
        lambda y, x: 0.5 + 0.4 * np.exp(-((x - 80) ** 2 / 128 + (y - 60) ** 2 / 32)), (120, 160)
    )
    found = detect(blob.astype(np.float32), DetectorConfig("hessian", 1, "upright", affine=True))
    stretch = found.lafs[0, 0, 0] / found.lafs[0, 1, 1]
    assert 1.3 < stretch < 2.2  # the blob is twice as wide as high


def extrema(rows):
    table = torch.tensor(rows, dtype=torch.float32)
    return Extrema(table[:, :2], table[:, 2], table[:, 3])


def test_duplicates_are_the_same_place_and_scale():
    found = extrema(
        [
            [10.0, 10.0, 2.0, 0.3],
            [10.4, 10.0, 2.2, 0.4],  # the better of the same blob
            [10.0, 10.0, 4.0, 0.2],  # same place, other scale
            [13.0, 10.0, 2.0, 0.1],  # other place
        ]
    )
    kept = without_duplicates(found)
    assert [round(c, 1) for c in kept.contrast.tolist()] == [0.4, 0.2, 0.1]
    assert len(without_duplicates(extrema(np.zeros((0, 4)).tolist() or [[0, 0, 1, 1]])).xy) == 1


def test_duplicates_are_those_of_all_pairs():
    rng = np.random.default_rng(0)
    sigma = 0.8 * 80 ** rng.random(1500)
    table = np.stack([*rng.uniform(0, 60, (2, 1500)), sigma, rng.random(1500)], 1).astype(np.float32)
    table = table[table[:, 3].argsort()[::-1]]
    xy, sigma = table[:, :2].astype(np.float64), table[:, 2].astype(np.float64)
    distance = np.linalg.norm(xy[:, None] - xy[None], axis=2)
    small, large = np.minimum.outer(sigma, sigma), np.maximum.outer(sigma, sigma)
    same = (distance < 0.5 * small) & (large < 1.25 * small)
    alone = ~np.tril(same, -1).any(1)  # none better is the same
    assert 300 < alone.sum() < 1300
    kept = without_duplicates(extrema(table.tolist()))
    np.testing.assert_array_equal(torch.column_stack(kept[:3]).numpy(), table[alone])


def test_large_blobs_do_not_pair_all_small_ones_around_them():
    y, x = np.mgrid[:100, :100].reshape(2, -1)
    rows = np.stack([x, y, np.ones_like(x), np.arange(10_000)], 1).tolist()
    pairs = list(_near_pairs(np.array(rows)[:, :2], np.r_[np.full(9999, 1.0), 200.0]))
    assert sum(map(len, pairs)) == 0  # at half a sigma nothing is near; the large one's 100 pixels hold all


def test_both_detectors_together_find_each_blob_once(photo):
    both = DETECTORS["dog+hessian"](torch.from_numpy(photo), DetectorConfig())
    single = [
        len(DETECTORS[name](torch.from_numpy(photo), DetectorConfig()).xy) for name in ("dog", "hessian")
    ]
    assert max(single) < len(both.xy) < sum(single)


def test_spread_prefers_lone_keypoints_to_crowded_ones():
    crowd = [[10.0 + i, 10.0, 1.0, 0.5 - 0.06 * i] for i in range(6)]
    alone = [[200.0, 150.0, 1.0, 0.1]]
    found = extrema(crowd + alone)
    assert strongest(found, 2, spread=False).contrast.tolist() == pytest.approx([0.5, 0.44])
    assert strongest(found, 2, spread=True).contrast.tolist() == pytest.approx([0.5, 0.1])
    assert len(strongest(found, 100, spread=True).xy) == 7

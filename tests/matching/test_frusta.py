"""Pairs by view frusta: overlaps counted by hand, depths told by how cameras stand, partners bounded."""

import numpy as np
import pytest

from desdis_match.errors import InputError
from desdis_match.matching.pairs import PairsConfig, PhotoSet, View, joined_pairs
from desdis_match.matching.pairs.frusta import depths_of_cameras, overlaps
from desdis_match.matching.pairs.retrieval import LEAST

FIELD = np.array([-0.5, 0.5, -0.5, 0.5])
AROUND = np.array([-np.inf, np.inf, -np.inf, np.inf])


def view(centre, axis=(0.0, 0.0, 1.0), field=FIELD, focal=1000.0, depths=None):
    forward = np.asarray(axis, float) / np.linalg.norm(axis)
    right = np.cross([0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    return View(np.column_stack([rotation, -rotation @ np.asarray(centre, float)]), field, focal, depths)


def score(*views, depths=(10.0, 10.0)):
    return overlaps(views, depths)[0, 1][0]


def ring(num, outward=False, radius=5.0):
    turns = 2 * np.pi * np.arange(num) / num
    places = radius * np.stack([np.sin(turns), 0 * turns, np.cos(turns)], axis=1)
    return [view(place, place if outward else -place) for place in places]


def paired(views, **options):
    names = [f"{i:02}" for i in range(len(views))]
    photos = PhotoSet(names, views=dict(zip(names, views, strict=True)))
    found = joined_pairs(photos, PairsConfig(pairs="frusta", **options))["frusta"]
    return [(int(a), int(b)) for a, b in found]


def test_a_step_aside_takes_columns_of_samples_out_of_the_photo():
    # Samples at x = -0.417, -0.25, ..., 0.417; 3 of 10 aside the other sees -0.2 to 0.5: 4 columns of 6.
    assert score(view([0, 0, 0]), view([3, 0, 0])) == 667
    assert score(view([0, 0, 0]), view([3, 0, 0]), depths=(60.0, 60.0)) == 1000
    assert score(view([0, 0, 0]), view([11, 0, 0])) == 0


def test_what_is_seen_from_one_place_or_from_far_apart_counts_little():
    assert score(view([0, 0, 0]), view([0, 0, 0])) == 100
    assert score(view([0, 0, 0]), view([0.01, 0, 0])) < 130
    assert score(view([0, 0, -5]), view([0, 0, 5], (0, 0, -1)), depths=(5.0, 5.0)) == 0  # opposite
    thirty, fifty = (
        view([10 * np.sin(a), 0, 10 - 10 * np.cos(a)], [-np.sin(a), 0, np.cos(a)]) for a in (0.4, 0.87)
    )
    assert score(view([0, 0, 0]), thirty) > 2 * score(view([0, 0, 0]), fifty) > 0


def test_cameras_back_to_back_share_nothing_and_a_camera_behind_shares_what_is_not_too_small():
    assert score(view([0, 0, 0]), view([0, 0, 0], (0, 0, -1))) == 0
    near, far, further = view([0, 0, 0]), view([0.5, 0, -20]), view([0.5, 0, -40])  # 3 and 5 times as small
    assert overlaps([near, far], (10.0, 10.0))[0, 1][0] > 0
    detail = overlaps([near, further], (10.0, 10.0))[0, 1][0]
    wide = overlaps([near, view([0.5, 0, -40], field=FIELD / 4, focal=4000)], (10.0, 10.0))[0, 1][
        0
    ]  # through a long lens
    assert detail < wide


def test_a_camera_that_sees_all_around_sees_behind_itself():
    assert score(view([0, 0, 0], field=AROUND), view([3, 0, 0], (0, 0, -1), AROUND)) > 300
    assert score(view([0, 0, 0], field=AROUND), view([3, 0, 0], (0, 0, -1))) > 300


def test_depths_come_from_where_axes_meet_or_from_the_spacing():
    def told(views):
        poses = np.array([v.cam_from_world for v in views])
        centres = -np.einsum("nji,nj->ni", poses[:, :, :3], poses[:, :, 3])
        return depths_of_cameras(centres, poses[:, 2, :3])

    assert told(ring(12)) == pytest.approx((2.5, 10.0))
    grid = [view([x, y, 0]) for x in range(4) for y in range(3)]
    assert told(grid) == pytest.approx((2.0, 20.0))
    assert told(ring(12, outward=True)) == pytest.approx(
        (2 * 10 * np.sin(np.pi / 12), 40 * 5 * np.sin(np.pi / 12))
    )
    assert told([view([0, 0, 0]), view([5, 0, 5], (-1, 0, 1))]) == pytest.approx(
        (8.5355 / 2, 8.5355 * 2),
        rel=1e-4,  # meeting 10 and 7.07 off
    )
    for centre, axis in (([5, 5, 5], (-1, 0, 1)), ([5, 0, 10], (1, 0, 1))):  # passing by; meeting behind one
        spacing = np.linalg.norm(centre)
        assert told([view([0, 0, 0]), view(centre, axis)]) == pytest.approx((2 * spacing, 20 * spacing))
    assert told([view([1, 1, 1])] * 3) == (2.0, 20.0)
    assert told([view([0, 0, 0]), view([10, 0, 0])] * 2) == pytest.approx((20.0, 200.0))  # two at each place


def test_a_models_points_come_before_the_guess_and_the_users_depths_before_both():
    aside = [view([0, 0, 0], depths=(60.0, 60.0)), view([3, 0, 0], depths=(60.0, 60.0))]
    assert overlaps(aside)[0, 1][0] == 1000
    assert overlaps(aside, (10.0, 10.0))[0, 1][0] == 667
    half = [aside[0], view([3, 0, 0])]  # one knows, the other is sampled from 6 to 60
    assert 667 < overlaps(half)[0, 1][0] < 1000


def test_every_photo_has_partners_and_not_too_many():
    for views in (ring(40), ring(40, outward=True)):
        found = paired(views, partners=4)
        degree = np.bincount(np.ravel(found), minlength=40)
        assert len(found) <= 4 * 40 and degree.min() >= LEAST
        apart = [min((b - a) % 40, (a - b) % 40) for a, b in found]
        assert max(apart) <= 6  # 54 degrees
    scattered = [view([1000 * i, 0, 0], (i % 2, 0, 9)) for i in range(9)]
    found = paired(scattered, depths=(1.0, 2.0))
    assert np.bincount(np.ravel(found), minlength=9).min() >= LEAST
    assert {(i, i + 1) for i in range(8)} <= {*found}  # the nearest, where nothing is shared


def test_depths_bound_what_is_paired():
    row = [view([i, 0, 0]) for i in range(30)]
    near, far = (paired(row, depths=depths, partners=10) for depths in ((4.0, 4.0), (12.0, 12.0)))
    assert max(b - a for a, b in near) <= 4 < max(b - a for a, b in far)


def test_photos_without_a_pose_are_named_in_number(caplog):
    views = {name: view([i, 0, 0]) for i, name in enumerate("abcd")}
    found = joined_pairs(PhotoSet("abcde", views=views), PairsConfig(pairs="frusta"))["frusta"]
    assert len(found) == 6 and "1 images have no known pose" in caplog.text
    with pytest.raises(InputError, match="1 of 5 images have a known pose"):
        joined_pairs(PhotoSet("abcde", views={"a": views["a"]}), PairsConfig(pairs="frusta"))
    with pytest.raises(InputError, match="give the nearest first"):
        PairsConfig(depths=(3.0, 2.0))
    with pytest.raises(InputError, match="depths is 0"):
        PairsConfig(depths=(0.0, 2.0))

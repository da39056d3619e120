"""Two halves of a room that look alike fall onto each other: that is seen, and photos of one place stay."""

from pathlib import Path

import numpy as np
import pycolmap
import pytest
from pointcloud import look_at, make_point_cloud
from pointcloud_models import make_job

from desdis_match.colmap import untangling
from desdis_match.colmap.ambiguity import Comparison, compare, false_pairs, sides
from desdis_match.colmap.mappers import Job, map_incremental
from desdis_match.colmap.ranking import Rated, rated
from desdis_match.colmap.untangling import untangled
from desdis_match.colmap.view_graph import VerifiedPair, agreement, inlier_pairs

NUM = 4  # photos on each side


def folded_room(common_floor: bool, seen: float = 1.0) -> pycolmap.Reconstruction:
    """Photos 1..4 and 5..8 stand at the same places before one wall, each side on a floor of its own.

    With `common_floor` all see the same floor. seen: share of the points that a photo sees.
    """
    rng = np.random.default_rng(1)
    model = pycolmap.Reconstruction()
    model.add_camera_with_trivial_rig(
        pycolmap.Camera.create_from_model_name(1, "SIMPLE_PINHOLE", 600, 640, 480)
    )
    wall = rng.uniform((-1, -1, 0), (1, 0, 0), (200, 3))
    floors = [rng.uniform((-1, 0.2, 0), (1, 1, 0), (150, 3)) for _ in range(1 if common_floor else 2)]
    places = np.vstack([wall, *floors])
    of_side = [np.arange(350), np.arange(350) if common_floor else np.r_[0:200, 350:500]]
    tracks: dict[int, list[pycolmap.TrackElement]] = {}
    for image_id in range(1, 2 * NUM + 1):
        centre = np.array([0.3 * ((image_id - 1) % NUM) - 0.45, 0.0, -4.0])
        pose = look_at(centre, np.array([centre[0] * 0.5, 0, 0]))
        points = of_side[image_id > NUM]
        points = points[rng.random(len(points)) < seen]
        inside = places[points] @ pose[:, :3].T + pose[:, 3]
        pixels = 600 * inside[:, :2] / inside[:, 2:] + (320, 240)
        image = pycolmap.Image(name=f"{image_id}.jpg", keypoints=pixels, camera_id=1, image_id=image_id)
        model.add_image_with_trivial_frame(image, pycolmap.Rigid3d(pose))
        for row, point in enumerate(points):
            tracks.setdefault(int(point), []).append(pycolmap.TrackElement(image_id, row))
    for point, elements in tracks.items():
        track = pycolmap.Track()
        track.add_elements(elements)
        model.add_point3D(places[point], track)
    return model


ALL = [(a, b) for a in range(1, 2 * NUM + 1) for b in range(a + 1, 2 * NUM + 1)]
PAIRS = [VerifiedPair(a, b, np.zeros((100, 2), np.int64)) for a, b in ALL]


def test_sides_that_lie_over_each_other_are_parted_and_the_pairs_between_them_named() -> None:
    false, groups = false_pairs(folded_room(False, seen=0.7), PAIRS, dict.fromkeys(ALL, 1.0))
    assert sorted(groups) == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert sorted(false) == [(a, b) for a, b in ALL if a <= NUM < b]


def test_a_pair_that_contradicts_the_model_is_not_among_them() -> None:
    agrees = dict.fromkeys(ALL, 1.0) | {(1, 6): 0.1}
    assert (1, 6) not in false_pairs(folded_room(False), PAIRS, agrees)[0]


@pytest.mark.parametrize("seen", [1.0, 0.7, 0.5])
def test_photos_of_one_place_are_left_together(seen: float) -> None:
    model = folded_room(True, seen)
    assert max(found.conflict for found in compare(model, ALL).values()) < 0.05
    assert false_pairs(model, PAIRS, dict.fromkeys(ALL, 1.0)) == ([], [list(range(1, 9))])


def test_a_photo_that_was_put_on_the_wrong_side_moves_over() -> None:
    good, bad = Comparison(0.0, 100, 0.9), Comparison(0.5, 60, 0.3)
    # 9 is tied to 1 most closely of all, but to the whole of the other side more than to the whole of this.
    other = {1: Comparison(0.0, 230, 0.6), **{i: Comparison(0.0, 50, 0.5) for i in range(2, NUM + 1)}}
    found = {(a, b): (good if (a <= NUM) == (b <= NUM) else bad) for a, b in ALL}
    found |= {(i, 9): other.get(i, good) for i in range(1, 9)}
    assert sorted(sides(found, range(1, 10))) == [[1, 2, 3, 4], [5, 6, 7, 8, 9]]


def test_a_tangled_model_is_mapped_again_without_the_false_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(make_point_cloud(tmp_path), tmp_path)
    (model,) = map_incremental(job)
    monkeypatch.setattr(untangling, "false_pairs", lambda found, *_: ([(1, 2)] if found is model else [], []))
    seen = []

    def again(changed: Job) -> list[Rated]:
        with untangling.open_database(changed.database) as database:
            seen.append([pair.ids for pair in inlier_pairs(database, 15)])
        return [rated(pycolmap.Reconstruction(model))]

    models, notes = untangled(job, [rated(model)], again)
    assert models[0].model is not model and len(seen) == 1 and len(seen[0]) == 14 and (1, 2) not in seen[0]
    assert "1 pairs of photos look alike" in notes[0] and "photo ü 3.jpg)" in notes[0]
    with untangling.open_database(job.database) as database:
        assert len(inlier_pairs(database, 15)) == 15  # the database itself is left as it is
    models, notes = untangled(job, [rated(model)], lambda _: [])
    assert [one.model for one in models] == [model] and notes[0].startswith(
        "The model may lay photos over each other"
    )


def test_agreement_tells_a_pair_that_contradicts_the_model(tmp_path: Path) -> None:
    job = make_job(make_point_cloud(tmp_path), tmp_path)
    (model,) = map_incremental(job)
    with untangling.open_database(job.database) as database:
        pairs = inlier_pairs(database, 15)
        assert set(agreement(model, pairs, database).values()) == {1.0}
        turned = pycolmap.Rigid3d(pycolmap.Rotation3d(np.array([0, 1.0, 0, 0])), np.zeros(3))
        model.frame(6).rig_from_world = turned * model.frame(6).rig_from_world
        shares = agreement(model, pairs, database)
    assert all((share < 0.5) == (6 in pair) for pair, share in shares.items())
    _, notes = untangled(job, [rated(model)], lambda _: [])
    assert "5 verified pairs with 1500 matches contradict" in notes[0]

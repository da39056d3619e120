"""Tasks end to end on little data: phototour, pairs, sfm, speed."""

import json
import shutil
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from desdis_match.colmap.mapping import MapConfig
from desdis_match.commands.evaluate import main
from desdis_match.errors import InputError
from desdis_match.evaluate.cache import PredictionCache
from desdis_match.evaluate.contenders import CompareConfig
from desdis_match.evaluate.patches import phototour
from desdis_match.evaluate.poses import sfm_runs, two_view
from desdis_match.evaluate.poses.estimators import ESTIMATORS
from desdis_match.evaluate.poses.sfm_runs import colmap_camera_mode
from desdis_match.evaluate.shared import Described
from desdis_match.evaluate.speed_measures import timed
from desdis_match.photos.cameras import CameraConfig


def run(task, stored, *arguments):
    assert main([task, *map(str, arguments), "--json", str(stored)]) == 0
    return json.loads(stored.read_text())


@pytest.fixture(scope="module")
def patch_set(tmp_path_factory):
    """A PhotoTour folder: 256 patches of 64 points, four noisy views each."""
    folder = tmp_path_factory.mktemp("tour")
    rng = np.random.default_rng(0)
    points = [cv2.resize(rng.integers(0, 256, (9, 9), np.uint8), (64, 64)).astype(float) for _ in range(64)]
    views = [
        np.clip(p + rng.normal(0, 25, p.shape), 0, 255).astype(np.uint8) for p in points for _ in range(4)
    ]
    rows = [np.concatenate(views[i : i + 16], axis=1) for i in range(0, 256, 16)]
    cv2.imwrite(str(folder / "patches0000.bmp"), np.concatenate(rows))
    (folder / "info.txt").write_text("".join(f"{i // 4} 0\n" for i in range(256)))
    return folder


def test_phototour_draws_pairs_or_reads_the_official_list(patch_set, tmp_path):
    drawn = run(
        "phototour", tmp_path / "a.json", "--root", patch_set, "--num-pairs", 200, "--cache", tmp_path / "c"
    )
    scores = drawn["descriptors"]["rootsift"][patch_set.name]
    assert scores["fpr95"] < 0.05 and scores["auc"] > 0.98
    assert "200 pairs drawn" in drawn["notes"][0]
    folder = tmp_path / patch_set.name
    shutil.copytree(patch_set, folder)
    # Four pairs of one point, and four of two: rows patch, point, 0, patch, point, 0, 0.
    lines = [f"{4 * i} {i} 0 {4 * i + 1} {i} 0 0" for i in range(4)]
    lines += [f"{4 * i} {i} 0 {4 * i + 40} {i + 10} 0 0" for i in range(4)]
    (folder / "m50_100000_100000_0.txt").write_text("\n".join(lines) + "\n")
    listed = run("phototour", tmp_path / "b.json", "--root", folder, "--no-cache")
    assert listed["data"][folder.name]["pairs"] == 8 and listed["notes"] == []
    assert listed["descriptors"]["rootsift"][folder.name] == {
        "fpr95": 0.0,
        "auc": 1.0,
        "ratio_map": pytest.approx(1.0, abs=0.02),
    }
    (folder / "m50_100000_100000_0.txt").write_text("0 0 0 999 0 0 0\n")
    with pytest.raises(InputError, match="beyond the 256"):
        main(["phototour", "--root", str(folder), "--no-cache"])


def test_map_by_ratio_ranks_matches_by_their_ratio():
    """Three points on a line: two matches are right, the wrong one's ratio stands between theirs."""
    first = {0: 0.0, 2: 10.0, 4: 24.0}
    second = {1: 1.0, 3: 13.0, 5: 14.0}  # ratios: 1/13 right; 3/4 right; 10/11 wrong would be last
    places = np.array([(first | second)[k] for k in range(6)])

    def score(places):
        data = SimpleNamespace(
            spans=np.array([[0, 2], [2, 2], [4, 2]]),
            order=np.arange(6),
            patches=np.repeat(np.arange(6, dtype=np.uint8), 64 * 64).reshape(6, 64, 64),
        )
        named = {round(k / 255, 6): place for k, place in enumerate(places)}
        one = SimpleNamespace(
            fingerprint="x",
            describe=lambda p: np.array(
                [[named[round(float(v), 6)], 0.0] for v in p[:, 0, 0, 0]], np.float32
            ),
        )
        return phototour.ratio_map(one, data, PredictionCache(None), {}, 10)

    # Nearest of 0: 1 (1/13), of 10: 13 (3/4), of 24: 14 (10/11): all right.
    assert score(places) == pytest.approx(1.0)
    # The second patch of the third point lies beside the first one of all, which then has it before its own,
    # as 24 has 13; only 10 finds its own, and with the least ratio: recall 1/3 at precision 1, then no more.
    places[5] = 0.5
    assert score(places) == pytest.approx(1 / 3)


def test_both_estimators_find_the_pose():
    """Points seen by two cameras without noise: the rotation and direction to a hundredth of a degree."""
    rng = np.random.default_rng(0)
    points = rng.uniform([-2, -2, 4], [2, 2, 8], (200, 3))
    turn = cv2.Rodrigues(np.array([0.05, -0.2, 0.1]))[0]
    shift = np.array([0.6, -0.1, 0.2])
    intrinsics = np.array([[700.0, 0, 319.5], [0, 700, 239.5], [0, 0, 1]])
    seen = [points @ intrinsics.T, (points @ turn.T + shift) @ intrinsics.T]
    xy0, xy1 = (p[:, :2] / p[:, 2:] for p in seen)
    xy1[:40] += rng.uniform(30, 90, (40, 2))
    camera = SimpleNamespace(intrinsics=intrinsics, size=(640, 480))
    for name, estimate in ESTIMATORS.items():
        if name == "poselib":
            pytest.importorskip("poselib")
        (rotation, translation), kept = estimate(xy0, xy1, camera, camera, 1.5)
        assert np.abs(rotation - turn).max() < 2e-4, name
        direction = translation / np.linalg.norm(translation)
        assert np.abs(direction - shift / np.linalg.norm(shift)).max() < 2e-4, name
        assert kept[40:].all() and kept[:40].mean() < 0.2, name


def test_drawn_negatives_never_join_points_that_may_be_one(patch_set):
    data = phototour.read_phototour(patch_set, doubt=3)
    pairs = phototour.draw(data, 2000, seed=0)
    apart = np.abs(data.points[pairs.first] - data.points[pairs.second])
    assert pairs.same.sum() == 1000 and (apart[pairs.same] == 0).all() and (apart[~pairs.same] > 3).all()
    assert (pairs.first[pairs.same] != pairs.second[pairs.same]).all()


FEW = ("--max-keypoints", "500", "--device", "cpu")


def test_pairs_with_known_poses(scene_folder, tmp_path):
    names = sorted(p.name for p in (scene_folder / "images").iterdir())
    listed = tmp_path / "pairs.txt"
    listed.write_text(f"{names[0]} {names[1]}\n{names[1]} {names[2]}\n")
    places = ("--scenes", scene_folder, "--pairs", listed, "--cache", tmp_path / "c")
    found = run("pairs", tmp_path / "r.json", *places, *FEW)
    first = found["pairs"]["rootsift"][0]
    assert found["data"]["pairs"] == 2 and first["error"] < 5 and first["inlier_precision"] > 0.7
    assert first["error"] == pytest.approx(max(first["rotation"], first["translation"]))
    assert [c.name for c in table_columns(found)][-1] == "AUC@20deg"


def table_columns(stored):
    from desdis_match.evaluate.results import from_json

    return from_json(stored, "").tables[0].columns


def test_pairs_with_labelled_correspondences(scene_folder, tmp_path):
    from desdis_match.evaluate.poses.ground_truth import find_truth

    cameras = find_truth(scene_folder).cameras
    names = sorted(cameras)[:2]
    folder = tmp_path / "wide" / "one"
    folder.mkdir(parents=True)
    for i, name in enumerate(names):
        shutil.copy(scene_folder / "images" / name, folder / f"{i}.jpg")
    points = np.random.default_rng(0).uniform([-1, -1, 0], [1, 1, 2], (40, 3))
    seen = []
    for name in names:
        pose, k = cameras[name].pose, cameras[name].intrinsics
        projected = (points - pose.center) @ pose.rotation.T @ k.T
        seen.append(projected[:, :2] / projected[:, 2:])
    np.savetxt(folder / "corrs.txt", np.hstack(seen))
    found = run("pairs", tmp_path / "r.json", "--labelled", tmp_path / "wide", "--no-cache", *FEW)
    case = found["pairs"]["rootsift"][0]
    assert case["error"] < 3 and case["inlier_precision"] > 0.8 and case["rotation"] is None
    (folder / "corrs.txt").write_text("1 2 3\n")
    with pytest.raises(InputError, match="x0 y0 x1 y1"):
        main(["pairs", "--labelled", str(tmp_path / "wide")])
    with pytest.raises(InputError, match="no pair to score"):
        main(["pairs"])


@pytest.mark.parametrize("size", [(640, 480), (160, 120)])
def test_exact_matches_of_turned_cameras_are_right_at_any_size(tmp_path, size):
    import pycolmap

    model = pycolmap.Reconstruction()
    model.add_camera_with_trivial_rig(pycolmap.Camera.create_from_model_name(1, "PINHOLE", 500, 640, 480))
    roll = pycolmap.Rotation3d(np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]))
    poses = pycolmap.Rigid3d(), pycolmap.Rigid3d(roll, np.array([0, 1.0, 0]))
    points = np.random.default_rng(0).uniform([-1, -1, 4], [1, 1, 12], (60, 3))
    seen = []
    for i, pose in enumerate(poses):
        image = pycolmap.Image(name=f"{i}.png", camera_id=1, image_id=i + 1)
        model.add_image_with_trivial_frame(image, pose)
        model.register_frame(i + 1)
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.zeros(size[::-1], np.uint8))
        # COLMAP's pixels begin at the photo's corner, ours at the centre of the first pixel.
        seen.append(model.cameras[1].img_from_cam(pose * points) * size[0] / 640 - 0.5)
    (tmp_path / "sparse").mkdir()
    model.write(tmp_path / "sparse")
    (case,), _ = two_view.cases_of_scenes(two_view.PairTaskConfig(scenes=(tmp_path,)))
    score = two_view.score_posed(case, *seen, 1.0)
    assert score.precision == 1 and score.num_inliers == 60 and score.error < 1e-6


def test_pairs_found_by_another_matcher_are_not_taken_from_the_cache(scene_folder, tmp_path, monkeypatch):
    photos = two_view.PairPhotos(two_view.PairTaskConfig(run=CompareConfig(cache=tmp_path)))
    monkeypatch.setattr(photos, "described", lambda path, contender: contender.describe(path))
    monkeypatch.setattr(two_view, "describe_set", lambda shared, contender: [contender.describe(0)] * 2)
    names = sorted((scene_folder / "images").iterdir())[:2]
    described = Described(np.zeros((3, 2), np.float32), np.eye(3, dtype=np.float32), (4, 4), 0.0)
    contender = SimpleNamespace(fingerprint="f", describe=lambda path: described)
    case = two_view.Case("g", "a b", tuple(names))
    for code, misses in (("old", 1), ("old", 1), ("new", 2)):
        monkeypatch.setattr(two_view, "code_hash", lambda *patterns, code=code: code)
        photos.matched(case, contender)
        assert photos.cache.misses == misses


def test_folders_of_one_name_are_refused(patch_set, scene_folder, tmp_path):
    scenes = ("--scenes", scene_folder, tmp_path / "x" / scene_folder.name)
    roots = ("--root", patch_set, tmp_path / "x" / patch_set.name)
    for arguments in (("pairs", *scenes), ("phototour", *roots), ("homographies", *roots)):
        with pytest.raises(InputError, match="2 folders are called"):
            main([*map(str, arguments)])


def test_a_pair_without_matches_is_a_failure_not_a_zero():
    from desdis_match.evaluate.poses.geometry import Pose
    from desdis_match.evaluate.poses.ground_truth import TrueCamera

    k = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
    cameras = tuple(TrueCamera(Pose(np.eye(3), np.array([x, 0, 0])), k, (640, 480)) for x in (0.0, 1.0))
    case = two_view.Case("g", "a b", (None, None), cameras)
    score = two_view.score_posed(case, np.empty((0, 2), np.float32), np.empty((0, 2), np.float32), 1.0)
    assert np.isinf(score.error) and np.isnan(score.precision)
    # Points at many depths, seen by both without error.
    points = np.random.default_rng(0).uniform([-2, -2, 4], [2, 2, 12], (60, 3))
    both = [(points - c.pose.center) @ k.T for c in cameras]
    xy0, xy1 = ((p[:, :2] / p[:, 2:]).astype(np.float32) for p in both)
    score = two_view.score_posed(case, xy0, xy1, 1.0)
    assert score.error < 0.05 and score.num_inliers == 60 and score.precision == 1


def test_a_match_agrees_with_the_true_pose_within_half_a_thousandth():
    from desdis_match.evaluate.poses.geometry import Pose
    from desdis_match.evaluate.poses.ground_truth import TrueCamera

    k = np.array([[1000.0, 0, 320], [0, 1000, 240], [0, 0, 1]])
    cameras = tuple(TrueCamera(Pose(np.eye(3), np.array([x, 0, 0])), k, (640, 480)) for x in (0.0, 1.0))
    case = two_view.Case("g", "a b", (None, None), cameras)
    # Beside each other: epipolar lines are rows, and a pixel is a thousandth of the focal length.
    xy0 = np.full((4, 2), 200, np.float32)
    xy1 = xy0 + np.float32([[-50, 0], [-50, 0.4], [-50, 0.6], [-50, 4.0]])
    assert two_view.score_posed(case, xy0, xy1, 1.0).precision == 0.5


def test_sfm_reconstructs_with_every_contender_and_scores_models(scene_folder, tmp_path):
    work = tmp_path / "work"
    options = (
        "--descriptors",
        "rootsift",
        "--pycolmap-sift",
        "--sift-keypoints",
        1500,
        "--intrinsics",
        "self",
        "given",
    )
    places = ("--scenes", scene_folder, "--output", work)
    keypoints = ("--max-keypoints", 1500, "--device", "cpu", "--workers", 1)
    found = run("sfm", tmp_path / "r.json", *places, *options, *keypoints)
    kinds = [(m["label"], m["intrinsics"]) for m in found["models"]]
    assert kinds == [(f, i) for i in ("self", "given") for f in ("pycolmap-sift", "rootsift")]
    for model in found["models"]:
        assert model["num_registered"] == 6 and model["num_points"] > 200 and not model["unregistered"]
        assert len(model["rotation_errors"]) == 15 and np.median(model["rotation_errors"]) < 1.0
        assert model["auc"]["pose"][-1] > 0.7 and len(model["center_errors"]) == 6
        assert abs(model["focal_error"]) < (1e-6 if model["intrinsics"] == "given" else 0.1)
    again = run("sfm", tmp_path / "again.json", *places, *options, *keypoints)
    for one, two in zip(found["models"], again["models"], strict=True):
        assert one["center_errors"] == two["center_errors"]
    assert found["models"][0]["seconds"] == again["models"][0]["seconds"]  # it was not done again
    name = scene_folder.name
    model = work / name / "self" / "rootsift" / "sparse" / "0"
    given = run("sfm", tmp_path / "m.json", "--scenes", scene_folder, "--models", f"mine={model}")
    assert given["models"][0]["label"] == "mine"
    assert given["models"][0]["num_points"] == found["models"][1]["num_points"]


@pytest.mark.parametrize(("told", "taken"), [("auto", "incremental"), ("global", "global")])
def test_pycolmaps_sift_is_mapped_to_the_end_by_its_own_mapper(
    scene_folder, tmp_path, monkeypatch, told, taken
):
    """`auto` and alignment are ours: what they leave to alignment would be left undone."""
    mapped, whole = [], sfm_runs.map_database

    def recorded(database, images, output, mapping, **named):
        mapped.append((mapping.mapper, mapping.align))
        return whole(database, images, output, mapping, **named)

    monkeypatch.setattr(sfm_runs, "map_database", recorded)
    run = sfm_runs.run_pycolmap_sift(scene_folder / "images", tmp_path, 400, 1500, MapConfig(mapper=told))
    assert mapped == [(taken, False)] and run.model is not None


def test_pycolmaps_sift_shares_cameras_as_ours_does(tmp_path):
    def mode(told="auto"):
        return colmap_camera_mode(tmp_path, CameraConfig(camera_mode=told)).name

    def photo(name, width):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), np.zeros((40, width), np.uint8))

    photo("a/0.png", 50)
    photo("b/0.png", 50)
    assert mode() == "SINGLE"
    told = [mode(told) for told in ("single", "per-folder", "per-image")]
    assert told == ["SINGLE", "PER_FOLDER", "PER_IMAGE"]
    photo("b/1.png", 51)  # three photos of two sizes look gathered
    assert mode() == "PER_IMAGE"
    for i in range(5):  # eight of two sizes like two lenses
        photo(f"a/{i + 1}.png", 50)
    assert mode() == "AUTO"


def test_sfm_counts_what_did_not_register_as_infinite(scene_folder, tmp_path):
    import pycolmap

    truth = scene_folder / "ground_truth" / "sparse"
    model = pycolmap.Reconstruction(truth)
    lost = sorted(model.images)[0]
    name = model.images[lost].name
    model.deregister_frame(model.images[lost].frame_id)
    (tmp_path / "part").mkdir()
    model.write(tmp_path / "part")
    found = run("sfm", tmp_path / "r.json", "--scenes", scene_folder, "--models", f"part={tmp_path / 'part'}")
    score = found["models"][0]
    assert score["unregistered"] == [name] and score["rotation_errors"].count("inf") == 5
    # Ten of fifteen pairs are without error, five are lost.
    assert score["auc"]["pose"][-1] == pytest.approx(10 / 15, abs=0.01)
    assert (
        found["worst"][0]["reason"] == "did not register"
        and "1 of 6 photos not registered" in found["notes"][0]
    )
    with pytest.raises(InputError, match="no ground truth"):
        main(
            [
                "sfm",
                "--scenes",
                str(scene_folder),
                "--truth",
                str(tmp_path),
                "--models",
                f"x={tmp_path / 'part'}",
            ]
        )
    with pytest.raises(InputError, match="nothing to evaluate"):
        main(["sfm", "--scenes", str(scene_folder)])


def test_speed_measures_every_part(scene_folder, tmp_path):
    few = (
        "--repeats",
        1,
        "--batches",
        16,
        64,
        "--keypoints",
        50,
        100,
        "--num-images",
        3,
        "--engines",
        "torch",
    )
    parts = ("--only", "peak", "patches", "photo", "match", "pairs")
    options = ("--images", scene_folder / "images", "--max-keypoints", 200, "--device", "cpu")
    found = run("speed", tmp_path / "r.json", *options, *few, *parts)
    assert found["peak"]["flops_per_second"] > 1e8
    assert [p["batch"] for p in found["patches"]] == [16, 64]
    steps = [(p["features"], p["step"]) for p in found["photo"]]
    assert ("rootsift", "describe") in steps and steps[-1][0] == "pycolmap-sift"
    assert [m["keypoints"] for m in found["match"]] == [50, 100] and found["pairs"][0]["pairs"] == 3
    without = run("speed", tmp_path / "w.json", "--only", "match", "pairs", *few)
    assert without["notes"] == ["left out, as there are no photos (--images): pairs"]


def test_a_timing_leaves_the_first_call_out_and_tells_its_spread():
    calls = []
    timing = timed(lambda: calls.append(1), 4)
    assert len(calls) == 5 and len(timing.seconds) == 4
    from desdis_match.evaluate.speed_measures import Timing

    # Quartiles of 1, 2, 3, 4 are 1.75 and 3.25; half their range over the median 2.5.
    assert Timing((1.0, 2.0, 3.0, 4.0)).spread == pytest.approx(0.3)

import json

import cv2
import numpy as np
import pytest

from desdis_match.commands.evaluate import main
from desdis_match.errors import InputError
from desdis_match.evaluate.cache import PredictionCache
from desdis_match.evaluate.planes import homographies
from desdis_match.evaluate.planes import scores as planar
from desdis_match.evaluate.planes.baselines import load_baselines
from desdis_match.evaluate.planes.homography_fit import FITS
from desdis_match.evaluate.planes.sequences import find_sequences
from desdis_match.evaluate.shared import SharedPhoto
from desdis_match.photos.planar import kind_of, read_homography

SHIFT = np.array([[1.0, 0, 10], [0, 1, 0], [0, 0, 1]])
"""Ten pixels to the right."""


def test_projection_keeps_points_in_front_and_drops_those_behind():
    homography = np.array([[1.0, 0, 0], [0, 1, 0], [-0.01, 0, 1]])
    found = planar.project_plane(homography, np.array([[0.0, 0], [50, 10], [150, 10]]))
    assert np.allclose(found[:2], [[0, 0], [100, 20]])
    assert np.isinf(found[2]).all()
    # A homography is known up to its sign.
    assert np.array_equal(planar.project_plane(-homography, np.array([[50.0, 10]])), [[100, 20]])


def test_repeatability_and_matching_score_by_hand():
    # Image 1 is image 0 moved by 10 px; both are 100 wide. Of image 0, x = 95 leaves image 1.
    xy0 = np.array([[10.0, 50], [40, 50], [95, 50]])
    xy1 = np.array([[21.0, 50], [70, 50], [5, 50]])  # one repeated within 1 px; x = 5 was not seen in image 0
    geometry = planar.relate(SHIFT, xy0, xy1, (100, 100), (100, 100))
    assert geometry.inside0.tolist() == [True, True, False]
    assert geometry.inside1.tolist() == [True, True, False]
    assert planar.repeatability(geometry, 3) == 0.5
    assert planar.repeatability(geometry, 0.5) == 0
    assert planar.matching_score(geometry, 1) == 0.5
    errors = planar.match_errors(geometry, xy1, np.array([[0, 0], [1, 1]]))
    assert errors.tolist() == [1, 20]


def test_ranked_average_precision_counts_only_keypoints_that_are_repeated():
    xy0 = np.array([[10.0, 50], [40, 50], [60, 50]])
    xy1 = np.array([[20.0, 50], [50, 50], [90, 90]])  # the third keypoint is not repeated
    geometry = planar.relate(SHIFT, xy0, xy1, (100, 100), (100, 100))
    near = planar.NearestDescriptors(
        np.array([0, 2, 1]), np.array([0.1, 0.5, 0.9]), np.array([1.0, 1.0, 1.0]), np.array([0, 2, 1])
    )
    # Ranked: right, wrong, wrong; two positives. One trapezoid of precision 1 up to recall 1/2.
    assert planar.ranked_average_precision(geometry, xy1, near, 3) == pytest.approx(0.5)
    far = planar.relate(SHIFT, xy0, xy1 + 40, (100, 100), (100, 100))
    assert np.isnan(planar.ranked_average_precision(far, xy1 + 40, near, 3))


def test_neighbours_are_ranked_by_ratio_not_by_distance():
    xy0 = np.array([[10.0, 50], [40, 50]])
    xy1 = np.array([[20.0, 50], [90, 90]])  # the first is repeated, the second is not
    geometry = planar.relate(SHIFT, xy0, xy1, (100, 100), (100, 100))
    # The right one is further away, but clearer: 0.8 / 1.6 against 0.4 / 0.5.
    near = planar.NearestDescriptors(
        np.array([0, 1]), np.array([0.8, 0.4]), np.array([1.6, 0.5]), np.array([0, 1])
    )
    assert planar.ranked_average_precision(geometry, xy1, near, 3) == 1
    # And behind a wrong one that is clearer still, though further: precision 1/2 when it is found.
    late = planar.NearestDescriptors(
        np.array([0, 1]), np.array([0.8, 0.9]), np.array([1.6, 3.6]), np.array([0, 1])
    )
    assert planar.ranked_average_precision(geometry, xy1, late, 3) < 0.6


def test_nearest_neighbours_equal_a_plain_search():
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(n, 8)).astype(np.float32) for n in (40, 30))
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    distance = np.linalg.norm(a[:, None].astype(float) - b, axis=2)
    near = planar.nearest_neighbours(a, b)
    assert np.array_equal(near.index, distance.argmin(1)) and np.array_equal(near.back, distance.argmin(0))
    assert np.allclose(near.distance, distance.min(1)) and np.allclose(
        near.second, np.sort(distance, 1)[:, 1]
    )
    mutual = [(i, j) for i, j in enumerate(distance.argmin(1)) if distance.argmin(0)[j] == i]
    assert near.mutual().tolist() == [list(m) for m in mutual]
    alone = planar.nearest_neighbours(a, b[:1])
    assert np.isinf(alone.second).all() and (alone.ratio() == 0).all() and len(alone.mutual()) == 1
    assert planar.nearest_neighbours(a, b[:0]).mutual().shape == (0, 2)
    assert planar.nearest_neighbours(a[:0], b).mutual().shape == (0, 2)
    with pytest.raises(InputError, match="1 of 40 descriptors are not numbers"):
        planar.nearest_neighbours(np.where(np.arange(40)[:, None] == 3, np.nan, a).astype(np.float32), b)


def test_corner_error_by_hand():
    assert planar.corner_error(np.eye(3), SHIFT, (64, 48)) == 10
    assert planar.corner_error(2 * SHIFT, SHIFT, (64, 48)) == 0
    assert planar.corner_error(None, SHIFT, (64, 48)) == np.inf


@pytest.mark.parametrize("name", list(FITS))
def test_robust_fits_survive_outliers_and_refuse_too_few(name):
    rng = np.random.default_rng(0)
    truth = np.array([[1.1, 0.1, 5], [-0.1, 0.9, 8], [1e-4, -1e-4, 1]])
    xy0 = rng.random((100, 2)) * 300
    xy1 = planar.project_plane(truth, xy0)
    xy1[:30] = rng.random((30, 2)) * 300
    assert planar.corner_error(FITS[name](xy0, xy1, 3.0), truth, (300, 300)) < 0.5
    assert FITS[name](xy0[:3], xy1[:3], 3.0) is None
    line = np.column_stack([np.arange(20.0), np.arange(20.0)])
    assert planar.corner_error(FITS[name](line, line + np.array([5.0, 0]), 3.0), truth, (300, 300)) > 5


def planar_shift(pixels):
    return np.array([[1.0, 0, pixels], [0, 1, 0], [0, 0, 1]])


def make_sequence(folder, layout, blank=()):
    """A textured image and two views of it by homographies."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (40, 52, 3), np.uint8)  # in colour: .ppm holds nothing else
    image = cv2.resize(coarse, (208, 160), interpolation=cv2.INTER_CUBIC)
    homographies = {2: SHIFT, 3: np.array([[1.05, 0.04, -6], [-0.03, 0.97, 4], [1e-4, 0, 1]])}
    image_name, matrix_name = {"hpatches": ("{}.ppm", "H_1_{}"), "oxford": ("img{}.png", "H1to{}p")}[layout]
    cv2.imwrite(str(folder / image_name.format(1)), image)
    for k, homography in homographies.items():
        warped = (
            cv2.warpPerspective(image, homography, (208, 160)) if k not in blank else np.zeros_like(image)
        )
        cv2.imwrite(str(folder / image_name.format(k)), warped)
        np.savetxt(folder / matrix_name.format(k), homography)


def test_both_layouts_are_read_and_what_lacks_its_counterpart_is_told(tmp_path):
    make_sequence(tmp_path / "set" / "v_one", "hpatches")
    make_sequence(tmp_path / "set" / "graf", "oxford")
    (tmp_path / "set" / "graf" / "H1to3p").unlink()
    (tmp_path / "set" / "empty").mkdir()
    sequences, notes = find_sequences([tmp_path / "set"])
    assert [(s.dataset, s.name, s.kind, list(s.targets)) for s in sequences] == [
        ("set", "graf", "viewpoint", [2]),
        ("set", "v_one", "viewpoint", [2, 3]),
    ]
    assert notes == ["graf: image 3 has no homography"]
    assert find_sequences([tmp_path / "set" / "v_one"])[0][0].name == "v_one"
    assert (kind_of("i_dome"), kind_of("leuven"), kind_of("holiday")) == (
        "illumination",
        "illumination",
        "other",
    )
    with pytest.raises(InputError, match="holds no sequence"):
        find_sequences([tmp_path / "set" / "empty"])
    (tmp_path / "H").write_text("1 2 3 2 4 6 0 0 1")
    with pytest.raises(InputError, match="determinant is zero"):
        read_homography(tmp_path / "H")
    (tmp_path / "H").write_text("1 2 three")
    with pytest.raises(InputError, match="nine numbers"):
        read_homography(tmp_path / "H")


OPTIONS = ("--max-keypoints", "150", "--device", "cpu", "--orientation", "upright")


def run(tmp_path, root, *more):
    stored = tmp_path / "result.json"
    places = ["--cache", str(tmp_path / "cache"), "--json", str(stored)]
    assert main(["homographies", "--root", str(root), *OPTIONS, *places, *more]) == 0
    return json.loads(stored.read_text())


def test_descriptors_share_detections_and_a_second_run_predicts_nothing(tmp_path, monkeypatch):
    make_sequence(tmp_path / "data" / "v_one", "hpatches")
    first = run(
        tmp_path, tmp_path / "data", "--local-features", "opencv-sift", "--plot", str(tmp_path / "p.png")
    )
    scores = first["summary"]["data"]["rootsift"]
    assert scores["pairs"] == 2 and scores["keypoints"] > 30
    # The views are the image itself moved: most mutual matches are right, homographies are good to a pixel.
    assert scores["MMA@3"] > 0.8 and scores["AP"] > 0.7 and scores["opencv AUC@3px"] > 0.5
    assert len(first["pairs"]["opencv-sift"]) == 2 and len(first["weights"]) == 2
    assert (tmp_path / "p.png").stat().st_size > 10_000
    import desdis_match.evaluate.shared as shared

    monkeypatch.setattr(shared, "detect", None)
    second = run(tmp_path, tmp_path / "data", "--local-features", "opencv-sift")
    assert second["summary"] == first["summary"]
    strict = run(tmp_path, tmp_path / "data", "--local-features", "opencv-sift", "--pixels", "0.5")
    # Scored anew from the same predictions: fewer are right to half a pixel.
    assert strict["summary"]["data"]["rootsift"]["rep@0.5px"] < scores["rep@3px"]


def test_bad_images_and_homographies_are_named_and_left_out(tmp_path):
    make_sequence(tmp_path / "data" / "v_one", "hpatches", blank=[2])
    make_sequence(tmp_path / "data" / "i_away", "hpatches")
    np.savetxt(tmp_path / "data" / "i_away" / "H_1_2", planar_shift(5000))
    found = run(tmp_path, tmp_path / "data")
    assert [(p["sequence"], p["target"]) for p in found["pairs"]["rootsift"]] == [("i_away", 3), ("v_one", 3)]
    notes = " ".join(found["notes"])
    assert "i_away image 2 left out: its homography maps nothing" in notes
    assert "v_one image 2 left out" in notes and "same value in every pixel" in notes


def test_pictures_of_the_worst_pairs(tmp_path):
    make_sequence(tmp_path / "data" / "v_one", "hpatches")
    found = run(tmp_path, tmp_path / "data", "--pictures", str(tmp_path / "pictures"), "--num-pictures", "1")
    shown = [w["picture"] for w in found["worst"] if w["picture"]]
    assert len(shown) == 1
    image = cv2.imread(shown[0])
    assert image.shape == (160, 416, 3)


def test_pictures_show_the_matches_that_are_scored(tmp_path, monkeypatch):
    from desdis_match.evaluate.planes import pictures

    make_sequence(tmp_path / "data" / "v_one", "hpatches")
    drawn = {}

    def draw(scores, matched, *options):
        drawn.update({target: len(pairs) for (*_, target), (_, pairs, _) in matched.items()})
        return ()

    monkeypatch.setattr(pictures, "draw_worst", draw)
    ratio = ("--matcher", "mnn+ratio", "--ratio", "0.5")
    found = run(tmp_path, tmp_path / "data", "--pictures", str(tmp_path / "pictures"), *ratio)
    assert drawn == {p["target"]: p["num_matches"] for p in found["pairs"]["rootsift"]}


@pytest.mark.parametrize("changed", ["planes.scores", "planes.baselines"])
def test_predictions_of_other_code_are_not_taken_from_the_cache(tmp_path, monkeypatch, changed):
    folder = tmp_path / "v_one"
    make_sequence(folder, "hpatches")
    cache = PredictionCache(tmp_path / "cache")
    config = homographies.HomographyConfig(root=(folder,))
    photos = {k: SharedPhoto(folder / f"{k}.ppm", config.detection, cache) for k in (1, 2)}
    baseline = load_baselines(["opencv-sift"], "cpu")[0]
    for code, misses in (("old", 1), ("old", 1), ("new", 2)):

        def code_hash(module, code=code):
            return code if getattr(module, "__name__", module).endswith(changed) else "same"

        monkeypatch.setattr(homographies, "code_hash", code_hash)
        homographies.neighbours_by(baseline, photos, config, cache)
        assert cache.misses == misses


def test_wrong_options_are_refused(tmp_path):
    make_sequence(tmp_path / "data" / "v_one", "hpatches")
    root = ["homographies", "--root", str(tmp_path / "data"), "--no-cache"]
    with pytest.raises(InputError, match="there is no sequence v_two"):
        main([*root, "--only", "v_two"])
    with pytest.raises(InputError, match="no local feature 'surf'"):
        main([*root, "--local-features", "surf"])
    with pytest.raises(InputError, match="2 features are called 'opencv-sift'"):
        main([*root, "--local-features", "opencv-sift", "opencv-sift"])
    with pytest.raises(InputError, match="nothing to evaluate"):
        main([*root, "--descriptors"])
    with pytest.raises(InputError, match="same weights"):
        main([*root, "--descriptors", "rootsift", "rootsift"])
    with pytest.raises(InputError, match="a plot can be png"):
        main([*root, "--plot", str(tmp_path / "x.doc")])

"""`import desdis_match as dm`: what it costs, what it takes, what it refuses; its models are true."""

import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import desdis_match as dm
from desdis_match.support.native import pycolmap

K = np.array([[500.0, 0, 199.5], [0, 500.0, 149.5], [0, 0, 1]])


def test_the_import_is_light_and_names_are_there():
    code = (
        "import sys, desdis_match as dm; "
        "print(sorted({'torch', 'cv2', 'pycolmap', 'numpy'} & set(sys.modules))); "
        "print(sorted(set(dm.__all__) - set(dir(dm))))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split("\n")[:2] == ["[]", "[]"]
    for name in dm.__all__:
        assert getattr(dm, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'extrct'"):
        dm.extrct  # noqa: B018


@pytest.fixture(scope="module")
def photo(scene_folder: Path) -> Path:
    return sorted((scene_folder / "images").iterdir())[0]


def in_order(found: dm.Features) -> np.ndarray:
    """Keypoints (N, 2) from left to right."""
    return found.keypoints[np.lexsort(np.rint(found.keypoints.T * 10))]


def test_a_picture_gives_the_same_in_every_shape(photo: Path, tmp_path: Path):
    rgb = cv2.cvtColor(cv2.imread(str(photo)), cv2.COLOR_BGR2RGB)
    cv2.imwrite(str(tmp_path / "same.png"), rgb[:, :, ::-1])
    options = {"max_keypoints": 150, "descriptor": "desdis-8"}
    expected = dm.extract(tmp_path / "same.png", **options)
    assert expected.image_size == (400, 300) and len(expected) == 150
    chw = torch.from_numpy(rgb.transpose(2, 0, 1).copy())
    for same in (str(tmp_path / "same.png"), rgb, chw):
        assert np.array_equal(dm.extract(same, **options).keypoints, expected.keypoints)
    gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    for same in (gray, gray[:, :, None], torch.from_numpy(gray)[None], gray.astype(np.float64) / 255):
        # The same keypoints; of those that score alike but for rounding, either may come first.
        assert np.allclose(in_order(dm.extract(same, **options)), in_order(expected), atol=0.01)
    # Red and blue count differently: (H, W, 3) is red first.
    assert not np.array_equal(dm.extract(rgb[:, :, ::-1], **options).scores, expected.scores)
    half = dm.extract(rgb, max_size=200, **options)
    assert half.image_size == (400, 300) and half.keypoints[:, 0].max() > 250


GRAY = np.random.default_rng(0).random((40, 50))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (GRAY * 255, "must be in [0, 1]; this one is from 0"),
        (GRAY - 0.5, "must be in [0, 1]; this one is from -0.4"),
        (np.where(GRAY > 0.5, np.nan, GRAY), "holds NaN or infinity"),
        ((GRAY * 255).astype(np.int64), "must be uint8 or float in [0, 1], not int64"),
        (GRAY > 0.5, "must be uint8 or float in [0, 1], not bool"),
        (np.stack([GRAY] * 3), "must be (H, W) or (H, W, 3), red first, not (3, 40, 50)"),
        (np.stack([GRAY] * 4, axis=2), "must be (H, W) or (H, W, 3), red first, not (40, 50, 4)"),
        (torch.zeros(2, 3, 40, 50), "give a batch as a list"),
        (torch.zeros(40, 50, 3), "a tensor must be (H, W), (1, H, W) or (3, H, W), not (40, 50, 3)"),
        (np.zeros((40, 50), np.uint8), "has the same value in every pixel"),
        (np.zeros((0, 50)), "sides of 16 and more are needed"),
        (7, "must be a path, an array, a tensor or a list of them, not int"),
        ([GRAY, None], "must be a path, an array or a tensor, not NoneType"),
        (Path(__file__).parent, "is a folder; give a photo"),
        ("nowhere.jpg", "nowhere.jpg"),
    ],
)
def test_what_is_no_picture_is_refused_with_a_sentence(image: object, message: str):
    with pytest.raises(dm.InputError, match=re.escape(message)):
        dm.extract(image, descriptor="desdis-8")  # type: ignore[call-overload]


def test_options_that_there_are_not_are_named(photo: Path):
    with pytest.raises(dm.InputError, match="extract has no option 'keypoints'; it has detector, max_keypo"):
        dm.extract(photo, keypoints=5)
    with pytest.raises(dm.InputError, match="reconstruct has no option 'map'; it has images, output"):
        dm.reconstruct(photo.parent, map=3)


def features(xy: np.ndarray) -> dm.Features:
    """Keypoints whose descriptors say which is which: row i of every picture is the same point."""
    num = len(xy)
    unit = np.eye(num, dtype=np.float32)
    columns = (np.ones(num, np.float32),) * 3
    return dm.Features(xy.astype(np.float32), unit, *columns, (400, 300))


def test_a_list_is_matched_one_against_many_and_all_with_all():
    one = features(np.random.default_rng(1).random((5, 2)))
    few = dm.Features(one.keypoints[:3], one.descriptors[:3], one.scores[:3], one.scales[:3], one.angles[:3],
                      one.image_size)  # fmt: skip
    assert [len(m) for m in dm.match(one, [one, few], filter="none")] == [5, 3]
    assert {pair: len(m) for pair, m in dm.match_many([one, few, one], filter="none").items()} == {
        (0, 1): 3,
        (0, 2): 5,
        (1, 2): 3,
    }
    found = dm.match_many({"a": one, "b": few}, [("b", "a")], filter="none")
    assert list(found) == [("b", "a")] and len(found["b", "a"]) == 3
    with pytest.raises(dm.InputError, match="there is no pair"):
        dm.match_many([one, few], [(0, 2)])
    with pytest.raises(dm.InputError, match="features1 must be Features or a list of them, not ndarray"):
        dm.match(one, one.descriptors)  # type: ignore[call-overload]


@pytest.fixture(scope="module")
def posed() -> tuple[dm.Features, dm.Features, dm.Matches, np.ndarray, np.ndarray]:
    """120 points in space in two photos of known pose; the last 30 matches are wrong."""
    rng = np.random.default_rng(5)
    points = np.column_stack([rng.uniform(-2, 2, 120), rng.uniform(-1.5, 1.5, 120), rng.uniform(6, 12, 120)])
    angle = 0.1
    rotation = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    translation = np.array([-0.8, 0.0, 0.6])
    seen0, seen1 = points @ K.T, (points @ rotation.T + translation) @ K.T
    xy0, xy1 = seen0[:, :2] / seen0[:, 2:], seen1[:, :2] / seen1[:, 2:]
    xy1[90:, 1] += 25 + 3 * np.arange(30)  # the cameras' motion is level, so lines nearly are
    rows = np.arange(120, dtype=np.int32)
    matches = dm.Matches(np.column_stack([rows, rows]), np.ones(120, np.float32))
    return features(xy0), features(xy1), matches, rotation, translation


def test_the_essential_matrix_comes_with_the_true_pose(posed):
    features0, features1, matches, rotation, translation = posed
    camera = pycolmap.Camera(model="SIMPLE_PINHOLE", width=400, height=300, params=[500, 200, 150])
    for given in (K, camera):  # the same: COLMAP's pixel centre is half a pixel further
        view = dm.verify(features0, features1, matches, "E", given, given, max_error=1.0)
        assert view.kind == "E" and len(view) == 90
        assert np.abs(view.cam1_from_cam0[:, :3] - rotation).max() < 1e-3
        direction = view.cam1_from_cam0[:, 3]
        assert np.abs(direction - translation / np.linalg.norm(translation)).max() < 3e-3
    assert dm.verify(features0, features1, matches, "auto", K, K).kind == "E"


def test_the_fundamental_matrix_is_of_our_pixels(posed):
    features0, features1, matches, rotation, translation = posed
    for kind in ("F", "auto"):
        view = dm.verify(features0, features1, matches, kind, max_error=1.0)
        assert view.kind == "F" and view.cam1_from_cam0 is None and len(view) == 90
        skew = np.cross(np.eye(3), translation) @ rotation
        expected = np.linalg.inv(K).T @ (-skew) @ np.linalg.inv(K)
        found = view.model / np.linalg.norm(view.model)
        expected = expected / np.linalg.norm(expected)
        assert min(np.abs(found - expected).max(), np.abs(found + expected).max()) < 2e-2
        rows0, rows1 = view.matches.indices[:80].T
        ends0 = np.column_stack([features0.keypoints[rows0], np.ones(80)])
        ends1 = np.column_stack([features1.keypoints[rows1], np.ones(80)])
        lines = ends0 @ view.model.T
        # Half a pixel of shift, were it left in, moves these by far more.
        assert (np.abs((ends1 * lines).sum(1)) / np.linalg.norm(lines[:, :2], axis=1)).max() < 0.02


def test_the_homography_is_of_our_pixels(posed):
    features0, _, matches, *_ = posed
    true = np.array([[0.9, 0.1, 12.0], [-0.05, 1.1, -7.0], [1e-4, 2e-4, 1.0]])
    moved = np.column_stack([features0.keypoints, np.ones(120)]) @ true.T
    view = dm.verify(features0, features(moved[:, :2] / moved[:, 2:]), matches, "H")
    assert len(view) == 120
    assert np.abs(view.model - true).max() < 1e-3


def test_without_a_model_there_are_no_matches(posed):
    features0, features1, matches, *_ = posed
    few = dm.Matches(matches.indices[:10], matches.scores[:10])
    for kind in ("auto", "F", "H"):
        view = dm.verify(features0, features1, few, kind)
        assert len(view) == 0 and not view.model.any() and view.matches.indices.shape == (0, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("E",), "kind E needs camera0 and camera1"),
        (("G",), "kind is 'G'; it must be one of auto, F, E, H"),
        (("E", K), "give both cameras or none"),
        (("E", K[:2], K), "must be a pycolmap.Camera or finite (3, 3) intrinsics"),
    ],
)
def test_wrong_cameras_and_kinds_are_refused(posed, arguments: tuple, message: str):
    with pytest.raises(dm.InputError, match=re.escape(message)):
        dm.verify(posed[0], posed[1], posed[2], *arguments)


def test_matches_of_other_features_are_refused(posed):
    other = features(np.zeros((5, 2)))
    with pytest.raises(dm.InputError, match="the matches are not of these features"):
        dm.verify(other, posed[1], posed[2])
    with pytest.raises(dm.InputError, match="features0 must be Features, as `extract` gives them, not list"):
        dm.verify([], posed[1], posed[2])  # type: ignore[arg-type]


def test_descriptors_by_module():
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten())
    describe = dm.load_descriptor(network)
    assert describe.dim == 4 and dm.load_descriptor(describe) is describe
    assert describe(torch.ones(1, 1, 32, 32)).shape == (1, 4)


def test_a_picture_of_matches(photo: Path):
    pytest.importorskip("matplotlib").use("Agg")
    rgb = cv2.imread(str(photo))[:, :, ::-1]
    found = dm.extract(photo, max_keypoints=50, descriptor="desdis-8")
    figure = dm.plot_matches(photo, rgb, found, found, dm.match(found, found))
    assert len(figure.axes) == 2

"""Ground truth that cannot be true is refused, with the file and the camera."""

import json

import numpy as np
import pytest

from desdis_match.errors import InputError
from desdis_match.evaluate.poses.ground_truth import read_truth

STRECHA = [500, 0, 320, 0, 500, 240, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3, 640, 480]


def strecha(folder, at=None, value=0.0):
    numbers = list(map(float, STRECHA))
    if at is not None:
        numbers[at] = value
    (folder / "a.jpg.camera").write_text(" ".join(map(str, numbers)))
    return folder


@pytest.mark.parametrize(
    ("at", "value"),
    [(0, np.nan), (0, 0), (4, -500), (12, np.nan), (12, 0), (21, np.inf), (24, np.nan), (24, 0), (25, -3)],
)
def test_strecha(tmp_path, at, value):
    assert read_truth(strecha(tmp_path)).cameras["a.jpg"].size == (640, 480)
    with pytest.raises(InputError, match=r"a\.jpg"):
        read_truth(strecha(tmp_path, at, value))


def transforms(folder, **changes):
    frame = {"file_path": "a.jpg", "transform_matrix": np.eye(4).tolist()}
    record = {"fl_x": 500, "cx": 320, "cy": 240, "w": 640, "h": 480, "frames": [frame]}
    for key, value in changes.items():
        (frame if key in frame else record)[key] = value
    (folder / "transforms.json").write_text(json.dumps(record))
    return folder


MATRIX = np.eye(4)
MATRIX[0, 3] = np.nan


@pytest.mark.parametrize(
    "changes",
    [
        {"fl_x": 0},
        {"fl_x": np.nan},
        {"fl_x": -5},
        {"fl_y": 0},
        {"cx": np.inf},
        {"w": 0},
        {"w": np.inf},
        {"h": np.nan},
        {"transform_matrix": MATRIX.tolist()},
        {"transform_matrix": np.zeros((4, 4)).tolist()},
        {"transform_matrix": None},
        {"frames": 3},
        {"frames": [[]]},
        {"k1": "much"},
    ],
)
def test_nerfstudio(tmp_path, changes):
    assert read_truth(transforms(tmp_path)).cameras["a.jpg"].intrinsics[0, 0] == 500
    with pytest.raises(InputError, match=r"transforms\.json|nerfstudio"):
        read_truth(transforms(tmp_path, **changes))


@pytest.mark.parametrize("content", [b"\xff\xfeG\x00r", b"[1]", b'{"frames":' * 30000, b"", b"\xe4"])
def test_a_file_that_is_no_json(tmp_path, content):
    (tmp_path / "transforms.json").write_bytes(content)
    with pytest.raises(InputError, match=r"transforms\.json"):
        read_truth(tmp_path)


def test_middlebury(tmp_path):
    k, r, t = "500 0 320 0 500 240 0 0 1", "1 0 0 0 1 0 0 0 1", "0 0 1"
    (tmp_path / "x_par.txt").write_text(f"1\na.png {k} {r} {t}\n")
    assert read_truth(tmp_path).cameras
    for wrong in (f"{k} {r} nan 0 1", f"{k.replace('500', '0')} {r} {t}"):
        (tmp_path / "x_par.txt").write_text(f"1\na.png {wrong}\n")
        with pytest.raises(InputError, match=r"x_par\.txt|a\.png"):
            read_truth(tmp_path)

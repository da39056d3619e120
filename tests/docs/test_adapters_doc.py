"""The examples of docs/adapters.md, run as they stand there."""

import re
from pathlib import Path

import cv2
import pytest
import torch
from kornia.feature import BlobHessian, ScaleSpaceDetector

from desdis_match.plugins.opencv import DesDis_create

DOC = (Path(__file__).parents[2] / "docs" / "adapters.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", DOC, re.DOTALL)


@pytest.fixture(scope="module")
def around(scene_folder: Path) -> dict:
    """The names that the examples take for granted."""
    paths = sorted((scene_folder / "images").iterdir())[:2]
    images = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths]
    tensors = [torch.from_numpy(image)[None, None] / 255 for image in images]
    sift = cv2.SIFT_create(200)
    return {
        "cv2": cv2,
        "image": images[0],
        "keypoints": sift.detect(images[0]),
        "other_descriptors": DesDis_create().compute(images[1], sift.detect(images[1]))[1],
        "image0": tensors[0],
        "image1": tensors[1],
        "detector": ScaleSpaceDetector(100, resp_module=BlobHessian()),
    }


@pytest.mark.parametrize("example", [b for b in BLOCKS if "plugins.kornia" in b or "plugins.opencv" in b])
def test_examples_run(example: str, around: dict):
    names = dict(around)
    exec(compile(example, "docs/adapters.md", "exec"), names)
    if "matches" in names:
        found = names["matches"]
        assert len(found["keypoints0"] if isinstance(found, dict) else found) > 20
    else:
        lafs, _, descriptors = names["feature"](around["image0"])
        assert descriptors.shape == (1, lafs.shape[1], 128)


def test_every_adapter_is_shown_in_three_lines():
    assert len(BLOCKS) == 5
    assert all(len(block.strip().splitlines()) <= 3 for block in BLOCKS)
    plugins = Path(__file__).parents[2] / "desdis_match" / "plugins"
    for module in plugins.glob("[a-z]*.py"):
        assert module.stem == "common" or module.stem in DOC, module

"""What the tests of all adapters start from: two photos, and what this package itself says of them."""

from pathlib import Path

import pytest
from photo import NUM

from desdis_match.descriptors import load_descriptor
from desdis_match.features.extract import ExtractConfig, extract_image
from desdis_match.plugins.common import ORIENTATION


@pytest.fixture(scope="session")
def photos(scene_folder: Path) -> list[Path]:
    return sorted((scene_folder / "images").iterdir())[:2]


@pytest.fixture(scope="session")
def features(photos: list[Path]):
    """What this package itself says of the two photos."""
    config = ExtractConfig(max_size=0, max_keypoints=NUM, orientation=ORIENTATION)
    return [extract_image(photo, config, load_descriptor()) for photo in photos]

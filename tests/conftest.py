"""Fixtures that several test files use."""

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The development data beside the project; a test that needs it is skipped where it is missing."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the development data (../shared/data) is not on this machine")
    return SHARED_DATA


@pytest.fixture(scope="session")
def scene_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six small rendered photos (400 x 300, upright) with their truth: images/ and ground_truth/."""
    from desdis_match.synthetic.courtyard import SyntheticConfig, render_scene

    return render_scene(tmp_path_factory.mktemp("scene"), SyntheticConfig(views=6, size=(400, 300)))

"""Fixtures that several test files use."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def quiet_commands_do_not_silence_later_tests() -> Iterator[None]:
    """A command called in this process sets how much the package says; the next test begins anew."""
    from desdis_match.support import progress

    package = logging.getLogger("desdis_match")
    before = package.level, progress._quiet, progress._lines
    yield
    package.setLevel(before[0])
    progress._quiet, progress._lines = before[1:]


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

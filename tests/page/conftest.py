"""A run whose page is looked at, and one that stopped early."""

import json

import numpy as np
import pycolmap
import pytest

from desdis_match.page.write import write_report_page
from desdis_match.storage.features_file import write_features
from desdis_match.storage.matches_file import write_matches
from desdis_match.types import Features, Matches


@pytest.fixture(scope="session")
def out(scene_folder, tmp_path_factory):
    """A run by COLMAP's own SIFT, with the report.json that our runs write."""
    out = tmp_path_factory.mktemp("run")
    options = pycolmap.FeatureExtractionOptions()
    options.sift.max_num_features = 800
    images = scene_folder / "images"
    pycolmap.extract_features(
        out / "database.db", images, extraction_options=options, device=pycolmap.Device.cpu
    )
    pycolmap.match_exhaustive(out / "database.db", device=pycolmap.Device.cpu)
    pycolmap.incremental_mapping(out / "database.db", images, out / "sparse")
    report = {"images_folder": str(images), "images": {"broken.jpg": {"why": "cannot be decoded"}}}
    (out / "report.json").write_text(json.dumps(report))
    return out


@pytest.fixture(scope="session")
def page(out):
    return write_report_page(out)


@pytest.fixture
def unfinished(tmp_path):
    """Features and matches, no database; a name that is not friendly to HTML."""
    names = ["a </script><b>&.jpg", "b ü.jpg"]
    rng = np.random.default_rng(0)
    items = []
    for name in names:
        xy = rng.uniform(0, 79, (30, 2)).astype(np.float32)
        ones = np.ones(30, np.float32)
        items.append(
            (name.replace("/", "_"), Features(xy, np.eye(30, dtype=np.float32), ones, ones, ones, (100, 80)))
        )
    names = [name for name, _ in items]
    write_features(tmp_path / "features.h5", items, {})
    pairs = Matches(np.array([[1, 2], [3, 4]], np.int32), np.ones(2, np.float32))
    write_matches(tmp_path / "matches.h5", [(*names, pairs)], {})
    report = {
        "diagnosis": "2 matches are too few: 15 are needed",
        "images": {n: {"why": "starved"} for n in names},
    }
    (tmp_path / "report.json").write_text(json.dumps(report))
    return tmp_path, names

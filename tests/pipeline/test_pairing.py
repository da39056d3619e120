"""Stage pairs: chosen before extraction, kept while nothing changes, and counted by way."""

import numpy as np
import pytest
from PIL import ExifTags, Image

from desdis_match.errors import InputError
from desdis_match.matching.pairs import PairsConfig
from desdis_match.pipeline.pairing import pairs, pairs_by_way, settle_pairs
from desdis_match.storage.features_file import write_features
from desdis_match.types import Features


def features(path, names, config=None):
    random = np.random.default_rng(0)
    shared = random.normal(size=(30, 16))
    found = shared / np.linalg.norm(shared, axis=1, keepdims=True)
    one = Features(
        np.zeros((30, 2), np.float32),
        found.astype(np.float32),
        np.linspace(1, 0.5, 30, dtype=np.float32),
        np.ones(30, np.float32),
        np.zeros(30, np.float32),
        (32, 24),
    )
    return write_features(path, [(name, one) for name in names], config or {"a": 1})


def photo(path, metres_north=None):
    image = Image.new("L", (32, 24), 7)
    exif = image.getexif()
    if metres_north is not None:
        seconds = metres_north / 30.9  # a second of latitude
        exif.get_ifd(ExifTags.IFD.GPSInfo).update(
            {
                ExifTags.GPS.GPSLatitudeRef: "N",
                ExifTags.GPS.GPSLatitude: (10.0, 0.0, seconds),
                ExifTags.GPS.GPSLongitudeRef: "E",
                ExifTags.GPS.GPSLongitude: (10.0, 0.0, 0.0),
            }
        )
    image.save(path, exif=exif)


def test_spatial_and_retrieval_joined_and_counted(tmp_path):
    names = [f"{i}.jpg" for i in range(6)]
    images = tmp_path / "images"
    images.mkdir()
    for i, name in enumerate(names):
        photo(images / name, 10.0 * i if i < 5 else None)
    path = features(tmp_path / "features.h5", names)
    config = PairsConfig(pairs="spatial+retrieval", radius=11.0)
    out = pairs(path, tmp_path / "pairs.txt", config, images=images)
    lines = out.read_text().splitlines()
    assert lines[:4] == [f"{i}.jpg {i + 1}.jpg" for i in range(4)]
    counts = pairs_by_way(out)
    assert counts["spatial"] == 4 and counts["retrieval"] == len(lines) - 4
    assert any("5.jpg" in line for line in lines[4:])


def test_spatial_needs_the_photos(tmp_path):
    path = features(tmp_path / "features.h5", ["a", "b"])
    with pytest.raises(InputError, match="give their folder with --images"):
        pairs(path, tmp_path / "pairs.txt", PairsConfig(pairs="spatial"))


def test_pairs_are_kept_until_something_changes(tmp_path, monkeypatch):
    path = features(tmp_path / "features.h5", "abcdef")
    config = PairsConfig(pairs="retrieval")
    out = pairs(path, tmp_path / "pairs.txt", config)
    written = out.read_bytes()
    times = []
    monkeypatch.setattr(
        "desdis_match.pipeline.pairing.joined_pairs", lambda *_: times.append(1) or {"retrieval": []}
    )
    assert pairs(path, out, config).read_bytes() == written and times == []
    pairs(path, out, PairsConfig(pairs="retrieval", partners=3))
    assert len(times) == 1
    out.write_text("edited\n")
    pairs(path, out, PairsConfig(pairs="retrieval", partners=3))
    assert len(times) == 2


def test_auto_is_settled_from_the_photos_before_features(tmp_path, monkeypatch):
    monkeypatch.setattr("desdis_match.matching.pairs.auto.MAX_EXHAUSTIVE", 3)
    for i in range(4):
        photo(tmp_path / f"{i}.jpg", 5.0 * i)
    chosen = settle_pairs(tmp_path, PairsConfig())
    assert chosen.config.pairs == "spatial+retrieval" and chosen.why == "4 of 4 images have a GPS position"
    assert settle_pairs(tmp_path, PairsConfig(pairs="retrieval")).why == ""

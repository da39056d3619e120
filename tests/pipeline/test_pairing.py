"""Stage pairs: chosen before extraction, kept while nothing changes, and counted by way."""

import numpy as np
import pytest
from PIL import ExifTags, Image

from desdis_match.errors import InputError
from desdis_match.matching.pairs import PairsConfig
from desdis_match.matching.pairs.auto import HANDFUL
from desdis_match.photos.cameras import CameraConfig
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


def posed(folder, names, step=1.0):
    """A row of photos and a table of their poses: camera i stands `step` * i to the right."""
    images = folder / "images"
    images.mkdir(exist_ok=True)
    for name in names:
        photo(images / name)
    table = folder / "poses.txt"
    lines = [f"{name} 1 0 0 0 {-step * i} 0 0" for i, name in enumerate(names)]
    table.write_text("\n".join(lines), encoding="utf-8")
    return images, table


def test_known_poses_choose_pairs_by_view_frusta_above_a_handful(tmp_path):
    names = [f"{i:02}.jpg" for i in range(HANDFUL + 1)]
    images, table = posed(tmp_path, names)
    chosen = settle_pairs(images, PairsConfig(), table)
    assert chosen.config.pairs == "frusta" and chosen.why == "the poses of all 13 images are known"
    table.write_text("".join(table.read_text().splitlines(True)[1:]), encoding="utf-8")
    assert settle_pairs(images, PairsConfig(), table).config.pairs == "frusta+retrieval"
    (images / names[0]).unlink()
    assert settle_pairs(images, PairsConfig(), table).config.pairs == "exhaustive"
    table.write_text("other.jpg 1 0 0 0 0 0 0", encoding="utf-8")
    with pytest.raises(InputError, match="none is of a photo here"):
        settle_pairs(images, PairsConfig(pairs="sequential"), table)


def test_pairs_by_frusta_follow_poses_and_cameras(tmp_path):
    names = [f"{i}.jpg" for i in range(9)]
    images, table = posed(tmp_path, names)
    path = features(tmp_path / "features.h5", names)
    config = PairsConfig(pairs="frusta", depths=(10.0, 10.0))

    def furthest(camera_params):
        cameras = CameraConfig(camera_model="SIMPLE_PINHOLE", camera_params=camera_params)
        out = pairs(path, tmp_path / "pairs.txt", config, images=images, poses=table, cameras=cameras)
        return max(int(b[0]) - int(a[0]) for a, b in map(str.split, out.read_text().splitlines()))

    # At depth 10 a photo is 6.4 wide, and its outermost samples are 2.67 off the middle: seen from 5 aside.
    assert furthest("50,16,12") == 5
    assert furthest("100,16,12") == 3  # three partners, though only two share something
    posed(tmp_path, names, step=0.8)
    assert furthest("50,16,12") == 7  # 5.6 aside
    with pytest.raises(InputError, match="give them with --poses"):
        pairs(path, tmp_path / "pairs.txt", config, images=images)

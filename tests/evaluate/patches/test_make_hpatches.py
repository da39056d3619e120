import functools
import http.server
import io
import json
import os
import shutil
import sys
import tarfile
import threading
import zipfile

import cv2
import numpy as np
import pytest

from desdis_match.commands.evaluate import main
from desdis_match.errors import InputError
from desdis_match.evaluate.patches import download, make_hpatches
from desdis_match.evaluate.patches.hpatches_scores import TYPES, read_patch_sequence

CONFIG = make_hpatches.MakeHPatchesConfig((), None)


def frame(x, y, half, degrees=0.0):
    c, s = half * np.cos(np.radians(degrees)), half * np.sin(np.radians(degrees))
    return np.array([[c, -s, x], [s, c, y]])


def test_a_patch_of_the_images_own_grid_is_that_part_of_the_image():
    image = np.random.default_rng(0).random((100, 120), dtype=np.float32)
    patch = make_hpatches.sample(image, frame(50, 45, 32.5))
    assert np.array_equal(patch, np.rint(image[13:78, 18:83] * 255))


def test_a_shrunk_patch_is_low_passed_and_centred():
    y, x = np.mgrid[:400, :400].astype(np.float32)
    slope = (x + 2 * y) / 1200
    patch = make_hpatches.sample(
        slope, frame(200, 190, 97.5)
    )  # a pixel of the patch covers three of the image
    assert abs(patch[32, 32] / 255 - (200 + 2 * 190) / 1200) < 0.003
    assert abs((int(patch[32, 42]) - int(patch[32, 32])) / 255 - 30 / 1200) < 0.005
    noise = np.random.default_rng(0).random((400, 400), dtype=np.float32)
    assert make_hpatches.sample(noise, frame(200, 200, 97.5)).std() < 0.4 * 255 * noise.std()


def test_frames_carried_by_a_homography_follow_its_points():
    homography = np.array([[1.1, 0.2, 5], [-0.1, 0.9, 8], [1e-4, -2e-4, 1]])
    frames = np.stack([frame(40, 60, 2.0, 30), frame(90, 20, 3.0)])
    carried = make_hpatches.carry(frames, homography)
    for before, after in zip(frames, carried, strict=True):
        for uv in ([0, 0], [0.01, 0], [0, 0.01]):
            point = homography @ np.append(before @ np.append(uv, 1), 1)
            assert np.allclose(point[:2] / point[2], after @ np.append(uv, 1), atol=1e-5)


def test_jitter_has_the_spread_it_was_asked_for_and_no_outliers():
    changes = make_hpatches.jitters(4000, 2.0, CONFIG, np.random.default_rng(0))
    # A normal cut off at two standard deviations has 0.88 of its spread.
    shift = changes[:, :, 2]
    assert shift.std() == pytest.approx(0.88 * 2 * CONFIG.shift, rel=0.05)
    assert np.abs(shift).max() <= 2 * 2 * CONFIG.shift
    octaves = np.log2(np.linalg.det(changes[:, :, :2])) / 2
    assert octaves.std() == pytest.approx(0.88 * 2 * CONFIG.scale, rel=0.05)
    assert np.array_equal(changes, make_hpatches.jitters(4000, 2.0, CONFIG, np.random.default_rng(0)))


def slow_overlap(distance, r0, r1):
    """Counted on a grid."""
    x, y = np.meshgrid(np.linspace(-4, 8, 1500), np.linspace(-4, 4, 1000))
    a, b = x**2 + y**2 <= r0**2, (x - distance) ** 2 + y**2 <= r1**2
    return (a & b).sum() / (a | b).sum()


@pytest.mark.parametrize(
    "discs", [(0.0, 1.0, 1.0), (1.0, 1.0, 2.5), (1.5, 1.0, 2.0), (0.5, 1.0, 1.0), (5.0, 1.0, 2.0)]
)
def test_overlap_of_discs(discs):
    found = make_hpatches.disc_overlap(*(np.array([float(d)]) for d in discs))[0]
    assert found == pytest.approx(slow_overlap(*discs), abs=0.01)


def test_of_overlapping_regions_one_stays():
    centers = np.array([[0.0, 0], [0.1, 0], [10, 0], [10, 0.2], [30, 0]])
    kept = make_hpatches.without_overlaps(centers, np.ones(5), np.random.default_rng(0))
    assert len(kept) == 3 and 4 in kept and len({0, 1} & set(kept)) == 1


def test_sequences_become_patches_that_the_benchmark_scores(tmp_path):
    folder = tmp_path / "data" / "v_made"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(2)
    image = cv2.resize(rng.integers(0, 256, (45, 60), np.uint8), (480, 360), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(folder / "1.png"), image)
    for k in range(2, 7):
        homography = np.array([[1, 0.01 * k, -3.0 * k], [0, 1, 2.0 * k], [1e-5 * k, 0, 1]])
        cv2.imwrite(str(folder / f"{k}.png"), cv2.warpPerspective(image, homography, (480, 360)))
        np.savetxt(folder / f"H_1_{k}", homography)
    made, again, stored = tmp_path / "made", tmp_path / "again", tmp_path / "r.json"
    for output in (made, again):
        arguments = ["--root", str(tmp_path / "data"), "--output", str(output), "--patches", "30"]
        assert main(["make-hpatches", *arguments, "--half-side", "4"]) == 0
    sequence = read_patch_sequence(made / "v_made")
    assert 10 < len(sequence) <= 30
    for kind in TYPES:
        assert (made / "v_made" / f"{kind}.png").read_bytes() == (
            again / "v_made" / f"{kind}.png"
        ).read_bytes()
    arguments = [
        "--root",
        str(made),
        "--split",
        "made",
        "--no-cache",
        "--json",
        str(stored),
        "--only",
        "matching",
    ]
    assert main(["hpatches", *arguments]) == 0
    scores = json.loads(stored.read_text())["descriptors"]["rootsift"]["matching"]["mAP"]
    assert scores["e"] > 0.7 and scores["e"] >= scores["h"] > scores["t"]


def test_a_sequence_with_too_few_targets_is_refused(tmp_path):
    folder = tmp_path / "v_short"
    folder.mkdir()
    for name in ("1.png", "2.png"):
        cv2.imwrite(str(folder / name), np.random.default_rng(0).integers(0, 256, (50, 50), np.uint8))
    np.savetxt(folder / "H_1_2", np.eye(3))
    with pytest.raises(InputError, match="the layout needs 5"):
        main(["make-hpatches", "--root", str(folder), "--output", str(tmp_path / "out")])


PATCH_FILES = ("ref.png", *(f"{kind}{i}.png" for kind in "eht" for i in range(1, 6)))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DESDIS_MATCH_CACHE", str(tmp_path / "cache"))


def archive_of_sequences(kind):
    """A release with two sequences, as zip or tar.gz bytes."""
    files = {f"hpatches-release/{s}/{name}": s.encode() for s in ("v_a", "i_b") for name in PATCH_FILES}
    stream = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(stream, "w") as packed:
            for name, data in files.items():
                packed.writestr(name, data)
    else:
        with tarfile.open(fileobj=stream, mode="w:gz") as packed:
            for name, data in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                packed.addfile(member, io.BytesIO(data))
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_release_is_fetched_from_a_server_and_unpacked(tmp_path, kind):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "release").write_bytes(archive_of_sequences(kind))
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "site"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        root = tmp_path / "data"
        assert main(["fetch", "--root", str(root), "--address", f"{address}/release"]) == 0
        assert (root / "v_a" / "ref.png").read_bytes() == b"v_a" and sorted(
            p.name for p in root.iterdir()
        ) == ["i_b", "v_a"]
        with pytest.raises(InputError, match="404"):
            download.fetch_hpatches(tmp_path / "other", address=f"{address}/nothing")
        server.shutdown()
    # It is there: no address is asked again.
    assert download.fetch_hpatches(root, address="http://127.0.0.1:1/") == root


class Halves(http.server.BaseHTTPRequestHandler):
    """A server that breaks off once, and goes on where it is asked to."""

    data = archive_of_sequences("zip")
    asked: list = []  # noqa: RUF012

    def do_GET(self):
        where = self.headers.get("Range")
        self.asked.append(where)
        begin = int(where.removeprefix("bytes=").removesuffix("-")) if where else 0
        self.send_response(206 if where else 200)
        self.send_header("Content-Length", str(len(self.data) - begin))
        self.end_headers()
        self.wfile.write(self.data[begin:] if where else self.data[:100])

    def log_message(self, *arguments):
        pass


def test_a_download_that_broke_off_goes_on(tmp_path):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Halves) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/r.zip"
        with pytest.raises(InputError, match=r"broke off|could not be downloaded"):
            download.fetch_hpatches(tmp_path, address=address)
        download.fetch_hpatches(tmp_path, address=address)
        server.shutdown()
    assert Halves.asked == [None, "bytes=100-"]
    assert (tmp_path / "i_b" / "ref.png").read_bytes() == b"i_b"


def test_archives_that_are_none_or_reach_outside_are_refused(tmp_path):
    (tmp_path / "x").write_text("<html>moved</html>")
    with pytest.raises(InputError, match="cannot be unpacked"):
        download.fetch_hpatches(tmp_path / "a", address=(tmp_path / "x").as_uri())
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as packed:
        packed.writestr("../outside", "x")
    with pytest.raises(InputError, match="outside its folder"):
        download.fetch_hpatches(tmp_path / "b", address=(tmp_path / "bad.zip").as_uri())
    assert not (tmp_path / "outside").exists()
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as packed:
        packed.writestr("readme", "x")
    with pytest.raises(InputError, match="not the HPatches release"):
        download.fetch_hpatches(tmp_path / "c", address=(tmp_path / "empty.zip").as_uri())


def fetched(tmp_path, name, data, **options):
    """What `fetch` makes of an archive of these bytes."""
    (tmp_path / name).write_bytes(data)
    return download.fetch_hpatches(tmp_path / "root", address=(tmp_path / name).as_uri(), **options)


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
@pytest.mark.parametrize("share", [0.3, 0.9, 0.995])
def test_an_archive_that_is_cut_short_is_refused(tmp_path, kind, share):
    data = archive_of_sequences(kind)
    with pytest.raises(InputError, match=r"cannot be unpacked|is not whole|outside"):
        fetched(tmp_path, "cut", data[: int(len(data) * share)])
    assert list((tmp_path / "root").iterdir()) == []


def test_a_changed_byte_in_an_archive_is_refused(tmp_path):
    for kind, at in (("zip", 60), ("tar.gz", -6)):  # in a member's bytes; in gzip's checksum behind them
        data = bytearray(archive_of_sequences(kind))
        data[at] ^= 1
        with pytest.raises(InputError, match="cannot be unpacked"):
            fetched(tmp_path, "flipped", bytes(data))


def test_a_sequence_without_one_of_its_files_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "PATCH_FILES", PATCH_FILES[:-1])
    with pytest.raises(InputError, match=r"is not whole: its sequence i_b has no t5\.png"):
        fetched(tmp_path, "short", archive_of_sequences("zip"))


def test_the_published_address_must_send_all_sequences(tmp_path, monkeypatch, caplog):
    fetched(tmp_path, "own", archive_of_sequences("zip"))
    assert "holds 2 sequences, the release has 116" in caplog.text
    shutil.rmtree(tmp_path / "root")
    monkeypatch.setitem(download.ADDRESSES, "patches", ((tmp_path / "own").as_uri(),))
    with pytest.raises(InputError, match="the release has 116; it is cut short"):
        download.fetch_hpatches(tmp_path / "root")


def test_an_address_must_send_what_it_sent_before(tmp_path):
    fetched(tmp_path, "release", archive_of_sequences("zip"))
    shutil.rmtree(tmp_path / "root")
    with pytest.raises(InputError, match=r"sent something else than before .*downloads\.json"):
        fetched(tmp_path, "release", archive_of_sequences("tar.gz"))
    (tmp_path / "cache" / "downloads.json").unlink()
    fetched(tmp_path, "release", archive_of_sequences("tar.gz"))


def test_unpacking_that_was_killed_is_done_again(tmp_path, monkeypatch):
    calls = []

    def killed(self, target):
        calls.append(target)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return os.replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(download.Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            fetched(tmp_path, "release", archive_of_sequences("zip"))
    fetched(tmp_path, "release", archive_of_sequences("zip"))
    assert sorted(path.name for path in (tmp_path / "root").iterdir()) == ["i_b", "v_a"]

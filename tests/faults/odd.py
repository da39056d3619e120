"""What may stand where a file or a folder of some kind is expected."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import struct
import zlib
from pathlib import Path

import cv2
import h5py
import numpy as np

ODD = (
    "odd/nothing", "odd/empty", "odd/folder", "odd/text.txt", "odd/latin.txt", "odd/zeros", "odd/random",
    "odd/loop", "odd/cycle.h5", "odd/scalar.h5", "odd/external.h5", "odd/strings.h5", "odd/huge.h5",
    "odd/none.h5", "odd/groups.h5", "odd/nan.h5", "odd/storage.h5", "odd/empty.db", "odd/other.db",
    "odd/header.safetensors", "odd/long.safetensors", "odd/one.png", "odd/giant.png", "odd/photos",
    "odd/nan.json", "odd/list.json", "odd/deep.json", "odd/pairs.txt", "odd/control.csv", "odd/camera.txt",
    "device", "photos", "photos/view_000.jpg", "run", "run/features.h5", "run/database.db", "",
)  # fmt: skip
"""Paths below the bench; the last is a path that is empty."""


def make(bench: Path) -> None:
    """Make them in the bench's folder, and what else no command makes: ground control, a weight file."""
    place = bench / "odd"
    (place / "folder").mkdir(parents=True)
    rng = random.Random(0)
    (place / "empty").write_bytes(b"")
    (place / "text.txt").write_text("these are words\n")
    (place / "latin.txt").write_bytes("Gr\u00fc\u00dfe vom K\u00f6nig\n".encode("latin-1"))
    (place / "zeros").write_bytes(bytes(4096))
    (place / "random").write_bytes(rng.randbytes(4096))
    os.symlink("loop", place / "loop")
    _hdf5(place)
    _databases(place)
    _pictures(place, rng)
    _texts(place)
    _weights(place)
    _good(bench)


def _hdf5(place: Path) -> None:
    def group(file: h5py.File, name: str = "view_000.jpg") -> h5py.Group:
        return file.create_group(name)

    with h5py.File(place / "none.h5", "w"):
        pass
    with h5py.File(place / "cycle.h5", "w") as file:
        group(file)["again"] = file["/"]
        file["soft"] = h5py.SoftLink("/soft")
    with h5py.File(place / "scalar.h5", "w") as file:
        group(file)["keypoints"], file["view_000.jpg"]["descriptors"] = 3.0, 4
    with h5py.File(place / "external.h5", "w") as file:
        file["view_000.jpg"] = h5py.ExternalLink("../run/features.h5", "/view_000.jpg")
    with h5py.File(place / "storage.h5", "w") as file:
        words = [("../photos/view_000.jpg", 0, 800)]
        group(file).create_dataset("keypoints", (100, 2), np.float32, external=words)
    with h5py.File(place / "strings.h5", "w") as file:
        group(file)["keypoints"] = [b"a", b"b"]
        file["view_001.jpg"] = b"no group"
    with h5py.File(place / "huge.h5", "w") as file:
        group(file).create_dataset("keypoints", (1 << 40, 2), np.float32, chunks=(1024, 2))
        file["view_000.jpg"].create_dataset("descriptors", (128, 1 << 40), np.float32, chunks=(128, 64))
    with h5py.File(place / "groups.h5", "w") as file:
        for name in ("../../../x", "/etc/x", "..", "a/../b"):
            file.require_group(name.replace("/", "\u2215") if name.startswith("..") else name)
        group(file, "view_000.jpg").create_group("keypoints")
    with h5py.File(place / "nan.h5", "w") as file:
        for name in ("view_000.jpg", "view_001.jpg"):
            made = group(file, name)
            made["keypoints"] = np.full((5, 2), np.nan, np.float32)
            made["descriptors"] = np.full((128, 5), np.inf, np.float32)
            made["scores"] = np.zeros(5, np.float32)
            made["image_size"] = np.array([320, 240])


def _databases(place: Path) -> None:
    sqlite3.connect(place / "empty.db").close()
    (place / "empty.db").touch()
    made = sqlite3.connect(place / "other.db")
    made.executescript("create table cameras (a text); insert into cameras values ('x');")
    made.close()


def _pictures(place: Path, rng: random.Random) -> None:
    cv2.imwrite(str(place / "one.png"), np.zeros((1, 1), np.uint8))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30000, 30000, 8, 0, 0, 0, 0)
    giant = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1 << 16)))
    (place / "giant.png").write_bytes(giant + chunk(b"IEND", b""))
    photos = place / "photos"
    photos.mkdir()
    for name in ("view_000.jpg", "view_001.jpg"):
        (photos / name).write_bytes(rng.randbytes(500))
    (photos / "view_002.jpg").write_bytes((place / "giant.png").read_bytes())
    (photos / "view_003.jpg").write_bytes((place / "one.png").read_bytes())


def _texts(place: Path) -> None:
    (place / "nan.json").write_text(
        '{"frames": [{"transform_matrix": NaN, "file_path": 3}], "fl_x": Infinity}'
    )
    (place / "list.json").write_text("[1, 2, 3]")
    (place / "deep.json").write_text('{"a":' * 50000)
    (place / "pairs.txt").write_text("view_000.jpg view_000.jpg\n../x view_001.jpg\none\na b c d\n")
    (place / "control.csv").write_text("frame, local\ncamera, view_000.jpg, nan, inf, 1e999\n")
    (place / "camera.txt").write_text("1 PINHOLE nan 0 -3 1e400\n")


def _weights(place: Path) -> None:
    def safetensors(header: object, data: bytes = b"") -> bytes:
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + data

    odd = {"a": {"dtype": "F32", "shape": [-1, 1 << 62], "data_offsets": [9, 3]}, "__metadata__": {"x": 3}}
    (place / "header.safetensors").write_bytes(safetensors(odd))
    (place / "long.safetensors").write_bytes(struct.pack("<Q", 1 << 62) + b"{}")


def _good(bench: Path) -> None:
    import pycolmap
    import torch

    from desdis_match.descriptors.desdis import DesDis
    from desdis_match.descriptors.weights import save_weights

    torch.manual_seed(0)
    save_weights(bench / "weights.safetensors", DesDis(width=4, dim=16).eval(), {})
    (bench / "plain").mkdir()
    for photo in (bench / "photos").iterdir():  # without EXIF: no focal length is known
        cv2.imwrite(str(bench / "plain" / photo.name), cv2.imread(str(photo)))
    local, earth = ["frame, local"], []
    for image in pycolmap.Reconstruction(bench / "scene" / "ground_truth" / "sparse").images.values():
        x, y, z = image.projection_center()
        local.append(f"camera, {image.name}, {x:.4f}, {y:.4f}, {z:.4f}")
        earth.append(f"camera, {image.name}, {48 + y / 111200:.8f}, {11 + x / 74500:.8f}, {500 + z:.4f}")
    for name, rows in (("control.csv", local), ("earth.csv", earth)):
        photos = [row for row in rows if "004" not in row]  # the fifth is not in the run
        (bench / name).write_text("\n".join(sorted(photos, reverse=True)) + "\n")

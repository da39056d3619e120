"""The commands on the bench: every command that writes files, by a call that ends well."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

EXTRACT = "--max-keypoints 300 --orientation upright --descriptor rootsift --workers 1"
MAP = "--mapper incremental --workers 1"
SHARDED = "--max-keypoints 150 --orientation upright --descriptor rootsift --workers 1"
MATCHED = "--features run/features.h5 --pairs run/pairs.txt"
VERIFIED = "--images photos --features run/features.h5 --matches run/matches.h5"
TRAIN = (
    "--student.width 4 --student.dim 16 --batch 8 --steps 4 --validate-every 2 --log-every 2 "
    "--no-tensorboard --data.sources patches:patches.h5 --data.galleries 1 --data.gallery-size 10 "
    "--device cpu --threads 1"
)
EVALUATE = (
    "--scenes scene --descriptors rootsift --max-size 160 --max-keypoints 60 --device cpu "
    "--json new/scores.json --markdown new/scores.md"
)


@dataclass(frozen=True)
class Call:
    """A call that ends well, and what it writes: paths below the bench."""

    line: str
    writes: tuple[str, ...] = ("new",)
    then: str = ""  # a call that makes of what this one wrote something that can be compared

    @property
    def argv(self) -> tuple[str, ...]:
        """The arguments."""
        return tuple(shlex.split(self.line))


def _export(kind: str) -> Call:
    model = "metres" if kind == "geojson" else "run/sparse/0"
    return Call(f"export --model {model} --format {kind} --images photos --output new/cloud.{kind}")


FORMATS = (
    "colmap-bin", "colmap-txt", "ply", "3dgs", "nerfstudio", "undistorted", "las", "geojson", "csv",
    "bundler", "nvm",
)  # fmt: skip

COMMANDS: dict[str, Call] = {
    "extract": Call(f"extract --images photos --output new/features.h5 {EXTRACT}"),
    "extract --shard": Call(
        f"extract --images photos --output new/features.h5 --shard 1/2 {EXTRACT}",
        then=f"extract --images photos --output new/features.h5 {EXTRACT}",
    ),
    "pairs": Call("pairs --features run/features.h5 --output new/pairs.txt"),
    "match": Call(f"match {MATCHED} --output new/matches.h5"),
    "match --shard": Call(
        f"match {MATCHED} --output new/matches.h5 --shard 2/2",
        then=f"match {MATCHED} --output new/matches.h5",
    ),
    "verify": Call(f"verify {VERIFIED} --output new/two_view.h5 --workers 1"),
    "verify --shard": Call(
        f"verify {VERIFIED} --output new/two_view.h5 --shard 1/2 --workers 1",
        then=f"verify {VERIFIED} --output new/two_view.h5 --workers 1",
    ),
    "merge-shards extract": Call(
        f"merge-shards extract --images photos --output parts/features.h5 {SHARDED}", ("parts",)
    ),
    "merge-shards match": Call(f"merge-shards match {MATCHED} --output parts/matches.h5", ("parts",)),
    "merge-shards verify": Call(
        f"merge-shards verify {VERIFIED} --output parts/two_view.h5 --workers 1", ("parts",)
    ),
    "map": Call(f"map {VERIFIED} --output new {MAP}"),
    "map global": Call(
        "map --images plain --features run/features.h5 --matches run/matches.h5 --output new "
        "--mapper global --workers 1"
    ),
    "reconstruct": Call(f"reconstruct --images photos --output new {EXTRACT} {MAP}"),
    "add": Call("add --output run --images more --workers 1", ("run",)),
    "merge": Call("merge run/sparse/0 other/0 --output new/merged --overwrite"),
    "align": Call("align --model run/sparse/0 --control control.csv --output new/metres"),
    "localize": Call(
        "localize --model run/sparse/0 --features run/features.h5 --queries more --output new --workers 1"
    ),
    "view": Call("view run --output new/page.html"),
    **{f"export {kind}": _export(kind) for kind in FORMATS},
    "import-database": Call(
        "import-database --database run/database.db --features new/f.h5 --matches new/m.h5 --overwrite"
    ),
    "export-database": Call(
        "export-database --database other.db --features run/features.h5 --matches run/matches.h5 "
        "--images photos --overwrite",
        ("other.db",),
    ),
    "export-features": Call("export-features --features run/features.h5 --output new/text"),
    "export-onnx": Call("export-onnx --descriptor weights.safetensors --output new/descriptor.onnx"),
    "synthetic": Call("synthetic --output new/scene --views 2 --size 64 64 --points 20"),
    "build-patches": Call(
        "build-patches --images photos --model run/sparse/0 --features run/features.h5 "
        "--output new/patches.h5"
    ),
    "train": Call(f"train quick --output new {TRAIN}"),
    "evaluate pairs": Call(f"evaluate pairs {EVALUATE} --cache new/cache"),
    "evaluate report": Call("evaluate report scores.json --output new/report.html"),
}
"""Every command that writes."""

PREPARED = (
    "synthetic --output scene --views 5 --size 320 240 --points 200",
    f"reconstruct --images photos --output run {EXTRACT} {MAP}",
    "align --model run/sparse/0 --control earth.csv --output metres",
    f"extract --images photos --output parts/features.h5 {SHARDED} --shard 1/1",
    f"match {MATCHED} --output parts/matches.h5 --shard 1/1",
    f"verify {VERIFIED} --output parts/two_view.h5 --shard 1/1 --workers 1",
    "build-patches --images photos --model run/sparse/0 --features run/features.h5 --output patches.h5",
    "evaluate pairs --scenes scene --max-size 160 --max-keypoints 60 --no-cache --json scores.json",
)
"""Calls that make what the commands read, after the photos of the first are shared out."""

INPUTS: dict[str, tuple[str, ...]] = {
    # file below the bench: commands that read it
    "photos/view_001.jpg": ("extract", "reconstruct", "export undistorted", "verify", "build-patches"),
    "more/view_004.jpg": ("add", "localize"),
    "run/features.h5": ("match", "map", "verify", "localize", "export-features", "pairs", "build-patches"),
    "run/matches.h5": ("map", "verify", "export-database"),
    "run/two_view.h5": ("reconstruct again",),
    "run/pairs.txt": ("match", "add"),
    "run/database.db": ("view", "import-database", "add"),
    "other.db": ("export-database",),
    "run/sparse/0/cameras.bin": ("export colmap-txt", "localize", "merge", "align"),
    "run/sparse/0/rigs.bin": ("export colmap-txt", "view", "merge"),
    "run/sparse/0/frames.bin": ("export colmap-txt", "view", "align"),
    "run/sparse/0/images.bin": ("export colmap-txt", "view", "merge", "build-patches"),
    "run/sparse/0/points3D.bin": ("export ply", "view", "align", "localize"),
    "run/sparse/made_by.json": ("add", "view", "reconstruct again"),
    "run/sparse/checksums.json": ("export ply",),
    "run/report.json": ("view", "add"),
    "run/placing.json": ("view", "reconstruct again"),
    "control.csv": ("align",),
    "weights.safetensors": ("export-onnx",),
    "scores.json": ("evaluate report",),
    "scene/ground_truth/cameras.json": ("evaluate pairs",),
    "scene/ground_truth/sparse/images.bin": ("evaluate pairs",),
}
"""Every kind of file that commands read. `reconstruct again` is a run that is done already."""

AGAIN = Call(f"reconstruct --images photos --output run {EXTRACT} {MAP}", ("run",))
"""Not among COMMANDS: undisturbed it writes nothing."""


def call_of(name: str) -> Call:
    """A command on the bench."""
    return AGAIN if name == "reconstruct again" else COMMANDS[name]

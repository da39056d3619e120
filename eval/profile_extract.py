"""Where an extraction's time goes, step by step, and the least that each step can cost on this machine.

    python eval/profile_extract.py [PHOTO]    # from the project's root, with the data in ../shared/data

A photo is extracted as the stage `extract` does it for a set (upright frames, and the probe of
`--orientation auto` beside them), on one thread, several times; a step is the functions named in STEPS,
without what they call that is a step of its own. Seconds are the thread's CPU seconds, the least of the runs.
The bound of a step is the larger of two times: its least traffic (every array read once and written once, as
if each pass went to memory) over the machine's copy bandwidth, and its arithmetic over the machine's peak in
a float32 product; both are measured here. A decoder's bound says little: it is entropy decoding. Writes
profile_extract.json and profile_extract.md.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import torch
import tyro

from desdis_match.commands.cli import run
from desdis_match.commands.flags import parse
from desdis_match.descriptors import load_descriptor
from desdis_match.descriptors.engine import Descriptor
from desdis_match.evaluate.output import processor
from desdis_match.evaluate.speed_measures import flops_a_patch
from desdis_match.features import detectors, extract, extract_set, frames, octaves, orientation, scalespace
from desdis_match.features.extract import ExtractConfig
from desdis_match.features.frames import PATCH_SIZE
from desdis_match.features.orientation import HISTOGRAM_SIDE
from desdis_match.photos import images
from desdis_match.storage.features_file import write_features
from desdis_match.support.checkpoint import ShardFolder
from desdis_match.support.workers import one_thread

STEPS: dict[str, list[tuple[Any, str]]] = {
    "decode": [(images, "read_stored_grey")],
    "to floats, shrink": [(images, "gray_image"), (images, "to_unit_range")],
    "pyramid": [(octaves, "blur"), (octaves, "double"), (scalespace, "_difference_in_place")],
    "extrema in the plane": [(scalespace, "spatial_extrema")],
    "extrema in scale": [(scalespace, "_local_extrema")],
    "fit": [(scalespace, "_refine")],
    "edges, surroundings": [(scalespace, "_is_no_edge"), (scalespace, "_around")],
    "rank and select": [(detectors, "ranked"), (detectors, "strongest")],
    "orientation": [(orientation, "patch_histograms"), (orientation, "histogram_peaks")],
    "patches": [(frames.PatchPyramid, "__init__"), (frames.PatchPyramid, "sample")],
    "description": [(Descriptor, "forward")],
    "write": [(extract_set, "first_pass_to_arrays"), (ShardFolder, "save")],
}
"""The functions of each step; orientation.py's are looked up there by those that call them."""


@dataclass(frozen=True)
class Arguments:
    """Profile an extraction."""

    photo: tyro.conf.Positional[Path] = Path("../shared/data/strecha/fountain-P11/images/0005.jpg")
    extract: ExtractConfig = field(default_factory=ExtractConfig)
    repeats: int = 5
    output: Path = Path(__file__).parent / "results"


class Clock:
    """CPU seconds by step, of nested steps each its own."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys([*STEPS, "the rest"], 0.0)
        self.running = ["the rest"]
        self.since = time.thread_time()

    def _count(self) -> None:
        now = time.thread_time()
        self.seconds[self.running[-1]] += now - self.since
        self.since = now

    def wrap(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with its time counted."""

        def timed(*arguments: Any, **options: Any) -> Any:
            self._count()
            self.running.append(step)
            try:
                return function(*arguments, **options)
            finally:
                self._count()
                self.running.pop()

        return timed


def timed_run(work: Callable[[], Any]) -> tuple[dict[str, float], Any]:
    """Seconds of each step of one call."""
    clock, kept = Clock(), []
    for step, functions in STEPS.items():
        for place, name in functions:
            kept.append((place, name, getattr(place, name)))
            setattr(place, name, clock.wrap(step, kept[-1][2]))
    try:
        clock.since = time.thread_time()
        result = work()
        clock._count()
    finally:
        for place, name, function in kept:
            setattr(place, name, function)
    return clock.seconds, result


def bandwidth() -> float:
    """Bytes a second of a large copy, read and written."""
    source, target = np.ones(1 << 26, np.float32), np.ones(1 << 26, np.float32)
    return 2 * source.nbytes / least(lambda: np.copyto(target, source), 5)


def peak() -> float:
    """Operations a second of a float32 product."""
    a = torch.rand(1024, 1024)
    return 2 * 1024**3 / least(lambda: a @ a, 8)


def least(work: Callable[[], Any], repeats: int) -> float:
    """CPU seconds of the quickest of some calls."""
    times = []
    for _ in range(repeats):
        start = time.thread_time()
        work()
        times.append(time.thread_time() - start)
    return min(times)


def blurs() -> list[int]:
    """Taps of the blurs of an octave: as `octaves.blur` makes them."""
    factor = 2 ** (1 / octaves.LEVELS)
    sigmas = [octaves.SIGMA0 * factor ** (i - 1) * (factor**2 - 1) ** 0.5 for i in range(1, 6)]
    return [int(8 * sigma + 1) | 1 for sigma in sigmas]


def needs(
    photo: Path, config: ExtractConfig, pixels: np.ndarray, num: int, probed: int, descriptor: Descriptor
) -> dict[str, tuple[float, float]]:
    """Of each step the least bytes to be moved and the operations."""
    stored = images.read_stored_grey(photo)
    doubled = 4 * pixels.size * 4 / 3  # pixels of all octaves, of which the first is the photo doubled
    patches, network = num + probed, flops_a_patch(descriptor.network) or 0.0
    side = HISTOGRAM_SIDE**2
    sample = PATCH_SIZE**2 * patches + side * probed
    return {
        "decode": (photo.stat().st_size + stored.size, 0),
        "to floats, shrink": (stored.size * (1 + 4 + 4) + 4 * pixels.size, 2 * stored.size),
        # Each level read and written once for its blur, and once more for the difference.
        "pyramid": (5 * 8 * doubled + 5 * 12 * doubled, sum(4 * taps for taps in blurs()) * doubled),
        "extrema in the plane": (3 * 4 * doubled, 3 * 9 * doubled),
        "patches": (4 * 2 * sample + 4 * pixels.size * 4 / 3, 12 * sample),
        "orientation": (4 * side * probed, 4 * 2 * 19 * side * probed),
        "description": (4 * PATCH_SIZE**2 * patches, network * patches),
        "write": (2 * 4 * 128 * num, 0),
    }


def markdown(record: dict[str, Any]) -> str:
    """The record as a page."""
    lines = [
        f"# Extraction on one thread of {record['processor']}",
        "",
        f"`{record['command']}`: {record['photo']}, worked on at {record['size'][0]} x {record['size'][1]}, "
        f"{record['keypoints']} keypoints, {record['probed']} probed frames, {record['seconds']:.3f} CPU s. "
        f"A copy moves {record['bandwidth'] / 1e9:.1f} GB/s, a float32 product makes "
        f"{record['peak'] / 1e9:.0f} GFLOP/s.",
        "",
        "| step | CPU s | share | MB | GFLOP | bound, s | times the bound |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in record["steps"].items():
        cells = ["", "", "", ""]
        if row["bound"]:
            cells = [f"{row['bytes'] / 1e6:.1f}", f"{row['flops'] / 1e9:.2f}", f"{row['bound']:.4f}"]
            cells.append(f"{row['seconds'] / row['bound']:.1f}")
        share = 100 * row["seconds"] / record["seconds"]
        lines.append(f"| {name} | {row['seconds']:.4f} | {share:.1f} % | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> int:
    arguments = parse(Arguments, argv, "python eval/profile_extract.py")
    one_thread()
    config, photo = arguments.extract, arguments.photo
    descriptor = load_descriptor(config.descriptor, device="cpu", threads=1)
    with TemporaryDirectory() as folder:
        shards = ShardFolder(Path(folder), {})

        def work() -> Any:
            gray = extract.read_photo(photo, config)
            first = extract_set.probe_image(gray, config, descriptor)
            shards.save("photo", extract_set.first_pass_to_arrays(first))
            return gray, first

        work()
        runs = [timed_run(work) for _ in range(arguments.repeats)]
        gray, first = runs[0][1]
        shards.close()
        written = least(
            lambda: write_features(Path(folder) / "features.h5", [("photo", first.features)], {}), 3
        )
    seconds = {step: min(found[step] for found, _ in runs) for step in runs[0][0]}
    seconds["write"] += written
    num, probed = len(first.features), len(first.probe.angles)
    least_work = needs(photo, config, gray.pixels, num, probed, descriptor)
    speed, product = bandwidth(), peak()
    steps = {}
    for step, spent in seconds.items():
        moved, flops = least_work.get(step, (0.0, 0.0))
        bound = max(moved / speed, flops / product)
        steps[step] = {"seconds": spent, "bytes": moved, "flops": flops, "bound": bound}
    record = {
        "command": " ".join(["python eval/profile_extract.py", *argv]),
        "processor": processor(),
        "versions": {"torch": torch.__version__, "opencv": cv2.__version__},
        "photo": "/".join(photo.parts[-3:]),
        "size": gray.pixels.shape[::-1],
        "keypoints": num,
        "probed": probed,
        "seconds": sum(seconds.values()),
        "bandwidth": speed,
        "peak": product,
        "steps": steps,
    }
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name, text in (("json", json.dumps(record, indent=1) + "\n"), ("md", markdown(record))):
        (arguments.output / f"profile_extract.{name}").write_text(text, encoding="utf-8")
    print(markdown(record))
    return 0


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))

"""`desdis-match doctor`: versions, devices, weights, and whether a match comes out right on this machine.

`desdis-match doctor OUT`: whether the files of a run are whole and belong together (pipeline/checkup.py).
"""

from __future__ import annotations

import json
import logging
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

from .. import __version__
from ..descriptors import DEFAULT_DESCRIPTOR, DesDis, load_descriptor
from ..descriptors.engine import OnnxEngine, TorchEngine
from ..descriptors.registry import DOWNLOADS, PACKAGED, packaged_weights
from ..descriptors.teachers import KORNIA_NETWORKS
from ..features.extract import ExtractConfig
from ..features.extract_set import extract_together
from ..matching.match import MatchConfig, match_features
from ..photos.images import GrayImage
from ..pipeline.checkup import SOUND, check_run
from ..support.devices import pick_device
from ..support.download import cache_folder
from ..support.versions import PACKAGES, installed_version
from ..support.workers import available_cores
from ..synthetic.courtyard import SyntheticConfig, make_scene, make_views
from ..synthetic.geometry import Scene, View, render, transfer
from .flags import parse

logger = logging.getLogger(__name__)

OPTIONAL = {"plotly": "notebooks", "lightning-fabric": "train", "tensorboard": "train"}
"""Packages of the extras: name -> extra."""
ENGINE_TOLERANCE = 1e-4
"""How far descriptors of two engines may be apart."""
SELF_TEST = SyntheticConfig(views=2, size=(240, 180), noise=0.0)
"""Two neighbouring views of the rendered scene."""
TRUE_WITHIN = 3.0
"""Pixels between a match and the truth."""
LEAST_TRUE_SHARE = 0.8


@dataclass(frozen=True)
class DoctorConfig:
    """Versions, devices, engines, weights, and a self-test of a few seconds."""

    out: tyro.conf.Positional[Path | None] = None
    """Output folder of a run: are its files whole, do they belong together? Without it the installation."""
    device: str = "auto"
    """Device of the self-test: auto, cpu, cuda or mps."""
    json: bool = False
    """Print JSON instead of tables."""


@dataclass(frozen=True)
class SelfTest:
    """Two rendered views matched, and a network on two engines."""

    keypoints: int
    matches: int
    true_share: float  # of the matches, within TRUE_WITHIN pixels of the truth
    engines_differ: float  # largest difference of a component between torch and ONNX Runtime
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether this installation does its work."""
        return (
            self.matches >= 20
            and self.true_share >= LEAST_TRUE_SHARE
            and self.engines_differ <= ENGINE_TOLERANCE
        )


def find_versions() -> dict[str, str]:
    """By package; what is missing says so, and how to get it."""
    found = {"desdis-match": __version__, "python": platform.python_version()}
    for package in (*PACKAGES, *OPTIONAL):
        extra = OPTIONAL.get(package)
        install = f"pip install 'desdis-match[{extra}]'" if extra else f"pip install {package}"
        found[package] = installed_version(package) or f"not installed ({install})"
    return found


def find_devices() -> dict[str, str]:
    """By device: what it is; the one that `auto` takes is marked."""
    memory = ""
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = f", {os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GiB memory"
    found = {"cpu": f"{available_cores()} cores{memory}"}
    for i in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(i)
        found[f"cuda:{i}"] = f"{card.name}, {card.total_memory / 2**30:.1f} GiB"
    if torch.backends.mps.is_available():
        found["mps"] = "Apple GPU"
    chosen = pick_device("auto").type
    if chosen == "cuda":
        chosen = f"cuda:{torch.cuda.current_device()}"
    return {name: text + (" (auto)" if name == chosen else "") for name, text in found.items()}


def find_weights() -> dict[str, str]:
    """By descriptor: where its weights are, or that they are fetched at first use."""
    found = {"rootsift": "needs none"}
    for name in PACKAGED:
        path = packaged_weights(name)
        found[name] = str(path) if path.is_file() else f"{path} is missing: install the package again"
    for name, source in DOWNLOADS.items():
        path = cache_folder() / source.file_name
        found[name] = str(path) if path.is_file() else "downloaded at first use"
    found |= {name: "Kornia downloads it at first use" for name in KORNIA_NETWORKS}
    found[DEFAULT_DESCRIPTOR] += " (default)"
    return found


def self_test(device: str = "auto") -> SelfTest:
    """Render, extract with the default descriptor, match, and compare with the truth."""
    start = time.perf_counter()
    scene, views = make_scene(SELF_TEST), make_views(SELF_TEST)
    config = ExtractConfig(max_keypoints=500)
    descriptor, place = load_descriptor(device=device), pick_device(device)
    photos = [_gray(scene, view) for view in views]
    features0, features1 = extract_together(photos, config, descriptor, device=place)
    matches = match_features(features0, features1, MatchConfig())
    rows0, rows1 = matches.indices.T
    # NaN, where keypoint 0 is in the sky, is not within any distance.
    expected, _ = transfer(scene, views[0], views[1], features0.keypoints[rows0])
    good = np.linalg.norm(expected - features1.keypoints[rows1], axis=1) <= TRUE_WITHIN
    return SelfTest(
        keypoints=len(features0) + len(features1),
        matches=len(matches),
        true_share=float(good.mean()) if len(good) else 0.0,
        engines_differ=engines_differ(),
        seconds=time.perf_counter() - start,
    )


def _gray(scene: Scene, view: View) -> GrayImage:
    pixels = render(scene, view).mean(axis=2, dtype=np.float32) / 255
    return GrayImage(pixels=pixels, size=view.size, scale_xy=(1.0, 1.0))


@torch.no_grad()
def engines_differ() -> float:
    """Largest difference of a component between torch and ONNX Runtime, for an untrained DesDis-8."""
    network = DesDis(width=8).eval()
    patches = torch.rand(64, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    by_torch = TorchEngine(network, torch.device("cpu"))(patches)
    return float((by_torch - OnnxEngine(network, network.dim)(patches)).abs().max())


def main(argv: Sequence[str]) -> int:
    """`desdis-match doctor`; 1 when the self-test fails."""
    config = parse(DoctorConfig, argv, "doctor")
    if config.out is not None:
        return _check_folder(config.out, config.json)
    tables = {"versions": find_versions(), "devices": find_devices(), "weights": find_weights()}
    if not config.json:
        print_tables({title.capitalize(): rows for title, rows in tables.items()})
    result = self_test(config.device)
    if config.json:
        print(json.dumps({**tables, "self_test": {**asdict(result), "passed": result.passed}}, indent=1))
    else:
        print_tables({"Self-test": describe(result)})
    return 0 if result.passed else 1


def _check_folder(out: Path, as_json: bool) -> int:
    """Print what check_run finds; 1 when a file is damaged, changed or stale."""
    found = check_run(out)
    if as_json:
        print(json.dumps([asdict(one) for one in found], indent=1, ensure_ascii=False))
    else:
        print_tables({str(out): {one.file: f"{one.state}: {one.text}" for one in found}})
    return 0 if all(one.state in SOUND for one in found) else 1


def describe(result: SelfTest) -> dict[str, str]:
    """The self-test in words."""
    return {
        "matches": f"{result.matches} of {result.keypoints} keypoints in two rendered photos",
        "true": f"{100 * result.true_share:.1f} % within {TRUE_WITHIN:.0f} pixels",
        "engines": f"torch and ONNX Runtime differ by {result.engines_differ:.1e}",
        "result": f"{'passed' if result.passed else 'FAILED'} in {result.seconds:.1f} s",
    }


def print_tables(tables: dict[str, dict[str, str]]) -> None:
    """Aligned, a heading each; colours only on a terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    for title, rows in tables.items():
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), title_justify="left")
        table.add_column(style="cyan", min_width=18)
        table.add_column(overflow="fold")
        for name, text in rows.items():
            table.add_row(name, Text(text))  # as it is: square brackets are no markup
        console.print(title, style="bold", markup=False)
        console.print(table)


if __name__ == "__main__":
    from .cli import run

    sys.exit(run(main, sys.argv[1:]))

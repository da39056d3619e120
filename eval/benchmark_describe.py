"""Patches a second of every descriptor and engine on this machine, against Kornia's HardNet in the same run.

    python eval/benchmark_describe.py [--threads 2]

Weights are random (the time does not depend on them). A round goes through all candidates in turn, so that a
slow spell of the machine hits each of them; a rate is the best round. The ratio is to HardNet given
a photo's 8000 patches in one call, as kornia.feature.LAFDescriptor gives them; the rate of its best batch is
in the table too.
"""

import json
import platform
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import kornia
import onnxruntime
import torch

from desdis_match.commands.cli import run
from desdis_match.commands.flags import parse
from desdis_match.descriptors import DesDis
from desdis_match.descriptors.architectures import build_network
from desdis_match.descriptors.engine import Descriptor
from desdis_match.descriptors.rootsift import RootSIFT


@dataclass(frozen=True)
class Arguments:
    """Time descriptors."""

    threads: int = 2
    """Cores to use."""
    rounds: int = 5
    """Times that each candidate runs."""
    seconds: float = 0.5
    """About how long a candidate runs in a round."""
    output: Path = Path(__file__).parent / "results" / "describe.json"


def candidate(network: torch.nn.Module, name: str, engine: str, threads: int) -> Descriptor:
    return Descriptor(network.eval(), name, 128, "", torch.device("cpu"), engine, threads)


def kornia_in_batches(network: torch.nn.Module, batch: int):
    return lambda block: [network(part) for part in block.split(batch)]


def main(argv: list[str]) -> int:
    arguments = parse(Arguments, argv, "python eval/benchmark_describe.py")
    torch.set_num_threads(arguments.threads)
    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    patches = torch.rand(32000, 1, 32, 32)

    hardnet = build_network({"kind": "hardnet"})
    sift = kornia.feature.SIFTDescriptor(32, rootsift=True)
    runs = {
        f"HardNet, Kornia, batch {size}": kornia_in_batches(hardnet, size) for size in (8000, 1024, 256, 64)
    }
    runs["RootSIFT, Kornia, batch 64"] = kornia_in_batches(sift, 64)
    runs["rootsift"] = candidate(RootSIFT(), "rootsift", "torch", arguments.threads)
    for width in (32, 24, 16, 8):
        for engine in ("torch", "onnxruntime"):
            runs[f"desdis-{width}, {engine}"] = candidate(
                DesDis(width), f"desdis-{width}", engine, arguments.threads
            )
    for kind in ("desdis-fast", "hardnet", "sosnet", "tfeat", "hardtfeat"):
        for engine in ("torch", "onnxruntime"):
            runs[f"{kind}, {engine}"] = candidate(
                build_network({"kind": kind}), kind, engine, arguments.threads
            )
    runs["hynet, torch"] = candidate(build_network({"kind": "hynet"}), "hynet", "torch", arguments.threads)

    counts = {}
    for name, describe in runs.items():
        describe(patches[:256])  # warm up
        start = time.perf_counter()
        describe(patches[:256])
        rate = 256 / (time.perf_counter() - start)
        counts[name] = int(min(len(patches), max(256, rate * arguments.seconds)))
    counts["HardNet, Kornia, batch 8000"] = 8000

    rates = dict.fromkeys(runs, 0.0)
    for _ in range(arguments.rounds):
        for name, describe in runs.items():
            block = patches[: counts[name]]
            start = time.perf_counter()
            describe(block)
            rates[name] = max(rates[name], len(block) / (time.perf_counter() - start))

    baseline = rates["HardNet, Kornia, batch 8000"]
    print(f"{'descriptor, engine':<28}{'patches/s':>12}{'x HardNet':>12}   ({arguments.threads} threads)")
    for name, rate in rates.items():
        print(f"{name:<28}{rate:>12,.0f}{rate / baseline:>12.1f}")

    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    table = {
        "threads": arguments.threads,
        "machine": platform.machine(),
        "torch": torch.__version__,
        "kornia": kornia.__version__,
        "onnxruntime": onnxruntime.__version__,
        "patches_per_second": {name: round(rate) for name, rate in rates.items()},
        "times_hardnet": {name: round(rate / baseline, 2) for name, rate in rates.items()},
    }
    arguments.output.write_text(json.dumps(table, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))

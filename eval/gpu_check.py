"""Whether a GPU gives what the CPU gives, and how fast: tests, features, matches, training, seconds.

    python eval/gpu_check.py    # under five minutes; exits with 2 where there is no GPU

Runs the CUDA tests (`pytest -m cuda`), then works on rendered photos on both: keypoints and descriptors are
compared one by one, matches pair by pair, the losses of a training step by step. Nothing but the package and
its tests is needed. A part that fails is said, and the others still run. Writes gpu.json and gpu.md. Seconds
are wall-clock, the median of some runs after one to warm up, the CPU's with all of its cores.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from scipy.spatial import cKDTree

from desdis_match.commands.cli import run
from desdis_match.commands.flags import parse
from desdis_match.descriptors import load_descriptor
from desdis_match.distill.augment import NO_AUGMENTATION
from desdis_match.distill.config import DataConfig, StudentConfig, TeacherConfig, TrainConfig
from desdis_match.distill.train import prepare
from desdis_match.evaluate.output import processor
from desdis_match.features.detectors import detect
from desdis_match.features.extract import ExtractConfig, extract_image
from desdis_match.matching.match import MatchConfig, match_images, prepare_image
from desdis_match.patchsets.patchset import PatchSet, make_patch_set, split
from desdis_match.photos.images import GrayImage
from desdis_match.synthetic.courtyard import SyntheticConfig, make_scene, make_views
from desdis_match.synthetic.geometry import render
from desdis_match.types import Features

TESTS = ("tests/test_cuda.py", "tests/matching/test_match.py")
NAMES = ("desdis-8", "desdis-16", "desdis-32", "rootsift")
SAME = 0.01
"""Pixels by which two devices' rounding may move a keypoint that counts as the same."""


@dataclass(frozen=True)
class Arguments:
    """Compare a GPU with the CPU."""

    output: Path = Path(__file__).parent / "results"
    """Folder of gpu.json and gpu.md."""
    device: str = "cuda"
    """What is compared with the CPU; `cpu` tries the script itself where there is no GPU."""
    photos: int = 4
    size: tuple[int, int] = (1600, 1200)
    """Of a rendered photo, pixels."""
    keypoints: int = 8000
    steps: int = 30
    """Training steps whose losses are compared."""
    batch: int = 1024
    """Pairs of a training step that is timed."""
    patches: int = 65536
    """Described at a time on the GPU; an eighth of them on the CPU."""
    repeats: int = 5
    parts: tuple[Literal["tests", "features", "training", "speed"], ...] = (
        "tests",
        "features",
        "training",
        "speed",
    )


def run_tests(arguments: Arguments) -> dict[str, Any]:
    """The CUDA tests in a process of their own."""
    command = [sys.executable, "-m", "pytest", "-m", "cuda", "-p", "no:cacheprovider", "--tb=short", *TESTS]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    lines = done.stdout.strip().splitlines()
    print("\n".join(lines[-60:]), done.stderr[-2000:], sep="\n", flush=True)
    return {"tests": {"passed": done.returncode == 0, "summary": lines[-1] if lines else ""}}


def synchronize(device: str) -> None:
    """Wait for what a GPU still has to do."""
    if device != "cpu":
        torch.cuda.synchronize()


def seconds(work: Callable[[], Any], device: str, repeats: int) -> float:
    """Median time of some calls after one to warm up."""
    work()
    times = []
    for _ in range(repeats):
        synchronize(device)
        start = time.perf_counter()
        work()
        synchronize(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def rendered(arguments: Arguments) -> list[GrayImage]:
    """Photos of the synthetic courtyard."""
    config = SyntheticConfig(views=arguments.photos, size=arguments.size)
    scene = make_scene(config)
    return [
        GrayImage(render(scene, view).mean(axis=2, dtype=np.float32) / 255, view.size, (1.0, 1.0))
        for view in make_views(config)
    ]


def same_keypoints(one: Features, other: Features) -> np.ndarray:
    """(M, 2) rows of one keypoint in both: at one place within SAME, of one scale and angle."""

    def place(of: Features) -> np.ndarray:
        frame = [np.log(of.scales), np.cos(of.angles), np.sin(of.angles)]
        return np.concatenate([of.keypoints, 10 * SAME * np.stack(frame, 1) / 0.05], 1)

    distance, row = cKDTree(place(other)).query(place(one))
    near = np.flatnonzero(distance <= SAME)
    return np.stack([near, row[near]], 1)


def compare_features(one: list[Features], other: list[Features]) -> dict[str, Any]:
    """Of several photos' features on the CPU and on the GPU."""
    shares, exact, moved, apart, cosine = [], [], [], [], []
    for on_cpu, on_gpu in zip(one, other, strict=True):
        rows0, rows1 = same_keypoints(on_cpu, on_gpu).T
        shares.append(len(rows0) / max(len(on_cpu), 1))
        step = np.abs(on_cpu.keypoints[rows0] - on_gpu.keypoints[rows1]).max(1)
        exact.append(float((step == 0).mean()))
        moved.append(float(step.max(initial=0)))
        difference = on_cpu.descriptors[rows0] - on_gpu.descriptors[rows1]
        apart.append(np.abs(difference).max(1))
        cosine.append((on_cpu.descriptors[rows0] * on_gpu.descriptors[rows1]).sum(1))
    components, cosines = np.concatenate(apart), np.concatenate(cosine)
    return {
        "keypoints": [[len(a), len(b)] for a, b in zip(one, other, strict=True)],
        "share_same": min(shares),
        "share_same_to_the_bit": min(exact),
        "largest_move_pixels": max(moved),
        "descriptor_largest_difference": float(components.max()),
        "descriptor_difference_99_percent": float(np.quantile(components, 0.99)),
        "least_cosine": float(cosines.min()),
    }


def compare_matches(one: list[Features], other: list[Features], device: str) -> dict[str, Any]:
    """Pairs of neighbours: the same features matched on both, and each device's own features on itself."""
    result: dict[str, Any] = {}
    for search in ("guided", "full"):
        config = MatchConfig(search=search)  # type: ignore[arg-type]
        equal, shared, counts = True, [], []
        for i in range(len(one) - 1):
            on_cpu = match_images(*(prepare_image(f, "cpu") for f in one[i : i + 2]), config)
            given = match_images(*(prepare_image(f, device) for f in one[i : i + 2]), config)
            equal &= np.array_equal(on_cpu.indices, given.indices)
            equal &= np.array_equal(on_cpu.scores, given.scores)
            own = match_images(*(prepare_image(f, device) for f in other[i : i + 2]), config)
            rows = [dict(same_keypoints(one[i + k], other[i + k]).tolist()) for k in range(2)]
            found = {tuple(row) for row in own.indices.tolist()}
            partners = [(rows[0].get(a, -1), rows[1].get(b, -1)) for a, b in on_cpu.indices.tolist()]
            shared.append(sum(pair in found for pair in partners) / max(len(partners), 1))
            counts.append([len(on_cpu), len(own)])
        result[search] = {
            "same_features_equal_to_the_bit": bool(equal),
            "least_share_also_of_own_features": min(shared, default=0.0),
            "matches": counts,
        }
    return result


def noise(points: int) -> tuple[PatchSet, PatchSet]:
    """Patches to train on and held-back ones: pairs of smooth noise, the second of each a little noisier."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.standard_normal((points, 1, 12, 12)).astype(np.float32))
    smooth = torch.nn.functional.interpolate(coarse, (64, 64), mode="bicubic")[:, 0].numpy()
    pairs = np.repeat(smooth, 2, axis=0) + 0.3 * rng.standard_normal((2 * points, 64, 64), np.float32)
    patches = np.clip(128 + 40 * pairs, 0, 255).astype(np.uint8)
    return split(make_patch_set(patches, np.arange(2 * points) // 2, "noise", "generated"), 0.1)


def training(config: TrainConfig, data: tuple[PatchSet, PatchSet], steps: int) -> tuple[list[float], float]:
    """Losses of some steps, and seconds a step after the first few."""
    first = min(3, steps - 1)
    losses: list[torch.Tensor] = []
    with tempfile.TemporaryDirectory() as folder:
        state = prepare(replace(config, steps=steps), Path(folder), data)
        start = 0.0
        for number in range(steps):
            if number == first:
                synchronize(config.device)
                start = time.perf_counter()
            losses.append(state.step().total.detach())
            state.progress.step += 1
        synchronize(config.device)
        spent = time.perf_counter() - start
    return [float(loss) for loss in losses], spent / (steps - first)


def compare_training(arguments: Arguments, data: tuple[PatchSet, PatchSet]) -> dict[str, Any]:
    """The losses of equal steps: no augmentation and no dropout, whose random numbers differ by device."""
    config = TrainConfig(
        data=DataConfig(galleries=1, gallery_size=50),
        student=StudentConfig(width=8, dropout=0.0),
        augment=NO_AUGMENTATION,
        batch=256,
        tensorboard=False,
    )
    on_cpu, on_gpu = (
        np.array(training(replace(config, device=device), data, arguments.steps)[0])
        for device in ("cpu", arguments.device)
    )
    return {
        "losses_cpu": on_cpu.round(5).tolist(),
        "losses_gpu": on_gpu.round(5).tolist(),
        "first_difference": float(abs(on_cpu[0] - on_gpu[0])),
        "largest_relative_difference": float((np.abs(on_cpu - on_gpu) / on_cpu).max()),
    }


def speed(arguments: Arguments, photos: list[GrayImage], features: list[Features], device: str) -> dict:
    """Seconds and rates of one device."""
    repeats = arguments.repeats if device != "cpu" else 2
    found: dict[str, Any] = {}
    count = arguments.patches if device != "cpu" else arguments.patches // 8
    patches = torch.rand(count, 1, 32, 32, generator=torch.Generator().manual_seed(0)).to(device)
    for name in NAMES:
        describe = load_descriptor(name, device=device)
        found[f"{name}, patches a second"] = round(
            count / seconds(lambda d=describe: d(patches), device, repeats)  # type: ignore[misc]
        )
    config = ExtractConfig(max_keypoints=arguments.keypoints, orientation="upright")
    descriptor = load_descriptor(config.descriptor, device=device)
    pixels = torch.from_numpy(photos[0].pixels).to(device)
    found["detect, seconds a photo"] = seconds(lambda: detect(pixels, config, None, device), device, repeats)
    found["extract, seconds a photo"] = seconds(
        lambda: extract_image(photos[0], config, descriptor, device=device), device, repeats
    )
    several = replace(config, orientation="multi")
    found["extract with multi, seconds a photo"] = seconds(
        lambda: extract_image(photos[0], several, descriptor, device=device), device, repeats
    )
    images = [prepare_image(one, device) for one in features[:2]]
    for search in ("guided", "full"):
        way = MatchConfig(search=search)  # type: ignore[arg-type]
        found[f"match {search}, seconds a pair"] = seconds(
            lambda w=way: match_images(*images, w),  # type: ignore[misc]
            device,
            repeats,
        )
    return found


def training_speed(arguments: Arguments, data: tuple[PatchSet, PatchSet], device: str) -> dict[str, int]:
    """Pairs a second with and without a teacher, default augmentation."""
    config = TrainConfig(
        data=DataConfig(galleries=1, gallery_size=50),
        batch=arguments.batch,
        device=device,  # type: ignore[arg-type]
        tensorboard=False,
    )
    steps = 23 if device != "cpu" else 5
    ways = {"alone": TeacherConfig(), "taught by desdis-32": TeacherConfig(("desdis-32",))}
    return {
        f"training {way}, pairs a second": round(
            arguments.batch / training(replace(config, teacher=teacher), data, steps)[1]
        )
        for way, teacher in ways.items()
    }


def extracted(
    photos: list[GrayImage], arguments: Arguments, orientation: str
) -> tuple[list[Features], list[Features], bool]:
    """Features on the CPU, on the GPU, and whether the GPU gives those of the first photo twice."""
    config = ExtractConfig(max_keypoints=arguments.keypoints, orientation=orientation)  # type: ignore[arg-type]
    features = []
    for place in ("cpu", arguments.device):
        descriptor = load_descriptor(config.descriptor, device=place)
        features.append([extract_image(photo, config, descriptor, device=place) for photo in photos])
    again = extract_image(photos[0], config, descriptor, device=arguments.device)
    columns = ("keypoints", "angles", "scores", "descriptors")
    same = all(np.array_equal(getattr(again, name), getattr(features[1][0], name)) for name in columns)
    return features[0], features[1], same


def check_features(arguments: Arguments) -> dict[str, Any]:
    """Keypoints, descriptors and matches of rendered photos on both."""
    photos = rendered(arguments)
    result: dict[str, Any] = {}
    for orientation in ("multi", "upright"):
        on_cpu, on_gpu, same = extracted(photos, arguments, orientation)
        result[orientation] = compare_features(on_cpu, on_gpu) | {"repeatable": same}
    return {"features": result, "matches": compare_matches(on_cpu, on_gpu, arguments.device)}


def check_training(arguments: Arguments) -> dict[str, Any]:
    """Losses on both."""
    return {"training": compare_training(arguments, noise(4000))}


def check_speed(arguments: Arguments) -> dict[str, Any]:
    """Seconds and rates on both."""
    photos, data = rendered(replace(arguments, photos=2)), noise(4000)
    config = ExtractConfig(max_keypoints=arguments.keypoints, orientation="upright")
    descriptor = load_descriptor(config.descriptor, device=arguments.device)
    features = [extract_image(photo, config, descriptor, device=arguments.device) for photo in photos]
    found = {
        side: speed(arguments, photos, features, place) | training_speed(arguments, data, place)
        for side, place in (("gpu", arguments.device), ("cpu", "cpu"))
    }
    if arguments.device != "cpu":
        found["gpu"]["peak, MiB"] = round(torch.cuda.max_memory_allocated() / 2**20)
    return {"speed": found}


PARTS: dict[str, Callable[[Arguments], dict[str, Any]]] = {
    "tests": run_tests,
    "features": check_features,
    "training": check_training,
    "speed": check_speed,
}


def markdown(record: dict[str, Any]) -> str:
    """The record as a page; what is not there is left out."""
    lines = [
        f"# {record['gpu']} beside {record['cpu']} ({record['threads']} threads)",
        "",
        f"`{record['command']}`, torch {record['torch']}.",
        *(f"FAILED: {name}" for name in record["failed"]),
    ]
    if "tests" in record:
        lines += ["", f"CUDA tests: {record['tests']['summary']}"]
    if "features" in record:
        heads = ("orientation", f"same within {SAME} px", "to the bit", "largest move, px")
        heads += ("descriptors: largest difference", "99 % below", "least cosine", "twice the same")
        lines += ["", f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
        for name, one in record["features"].items():
            shares = f"{100 * one['share_same']:.2f} % | {100 * one['share_same_to_the_bit']:.2f} %"
            apart = (
                f"{one['largest_move_pixels']:.4f} | {one['descriptor_largest_difference']:.4f} | "
                f"{one['descriptor_difference_99_percent']:.4f} | {one['least_cosine']:.5f}"
            )
            lines.append(f"| {name} | {shares} | {apart} | {'yes' if one['repeatable'] else 'no'} |")
        lines.append("")
        for search, one in record["matches"].items():
            equal = "equal to the bit" if one["same_features_equal_to_the_bit"] else "NOT equal"
            share = 100 * one["least_share_also_of_own_features"]
            lines.append(
                f"Matches, {search}: of the same features {equal}; of each device's own features "
                f"{share:.2f} % are the same."
            )
    if "training" in record:
        one = record["training"]
        lines += [
            "",
            f"Training without random changes: the first loss differs by {one['first_difference']:.1e}, "
            f"those of {len(one['losses_cpu'])} steps by {100 * one['largest_relative_difference']:.3f} % at "
            "most.",
        ]
    if "speed" in record:
        lines += ["", "| | CPU | GPU |", "|---|---|---|"]
        for name, value in record["speed"]["cpu"].items():
            lines.append(f"| {name} | {value:.4g} | {record['speed']['gpu'][name]:.4g} |")
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> int:
    arguments = parse(Arguments, argv, "python eval/gpu_check.py")
    device = arguments.device
    if device != "cpu" and not torch.cuda.is_available():
        print("torch sees no CUDA device here: nothing is checked")
        return 2
    record: dict[str, Any] = {
        "command": " ".join(["python eval/gpu_check.py", *argv]),
        "gpu": torch.cuda.get_device_name() if device != "cpu" else "the CPU itself",
        "cpu": processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "seconds": {},
        "failed": [],
    }
    arguments.output.mkdir(parents=True, exist_ok=True)
    for part in arguments.parts:
        begun = time.perf_counter()
        try:
            record |= PARTS[part](arguments)
        except Exception:
            traceback.print_exc()
            record["failed"].append(part)
        record["seconds"][part] = round(time.perf_counter() - begun, 1)
        print(f"{part}: {record['seconds'][part]} s", flush=True)
        (arguments.output / "gpu.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        (arguments.output / "gpu.md").write_text(markdown(record), encoding="utf-8")
    print(markdown(record))
    equal = all(one["same_features_equal_to_the_bit"] for one in record.get("matches", {}).values())
    passed = record.get("tests", {}).get("passed", True)
    return 0 if passed and equal and not record["failed"] else 1


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))

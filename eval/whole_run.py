"""Seconds of a whole reconstruction, photos to model: this package and pycolmap's own SIFT pipeline.

    python eval/whole_run.py    # from the project's root, with the development data in ../shared/data

Both sides run in turns, --rounds times, each run in a process and a folder of its own, with all cores;
medians count. pycolmap runs as a user would call it: SIFT on the CPU, exhaustive matching with verification,
then incremental mapping, one camera. Ours is `desdis-match reconstruct`, page and start-up included. Models
are scored against the true cameras. Run it on a quiet machine; it writes eval/results/whole_run.json and .md.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from desdis_match.colmap.mapping import read_models
from desdis_match.commands.cli import run
from desdis_match.commands.flags import parse
from desdis_match.evaluate.output import processor
from desdis_match.evaluate.poses.ground_truth import find_truth
from desdis_match.evaluate.poses.sfm_scores import score_model
from desdis_match.photos.images import list_images
from desdis_match.storage.report_file import Report
from desdis_match.storage.run_folder import RunFolder
from desdis_match.support.workers import available_cores

RESULTS = Path(__file__).parent / "results"

PYCOLMAP = """
import json, sys, time
import pycolmap
images, output, max_size, keypoints = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
pycolmap.logging.minloglevel = 2
database, seconds = output + "/database.db", {}
options = pycolmap.FeatureExtractionOptions(max_image_size=max_size, use_gpu=False)
options.sift.max_num_features = keypoints
start = time.perf_counter()
mode, cpu = pycolmap.CameraMode.SINGLE, pycolmap.Device.cpu
pycolmap.extract_features(database, images, camera_mode=mode, extraction_options=options, device=cpu)
seconds["extract"] = time.perf_counter() - start
start = time.perf_counter()
pycolmap.match_exhaustive(database, device=cpu)
seconds["match"] = time.perf_counter() - start
start = time.perf_counter()
pycolmap.incremental_mapping(database, images, output + "/sparse")
seconds["map"] = time.perf_counter() - start
print(json.dumps(seconds))
"""


@dataclass(frozen=True)
class Arguments:
    """Time whole runs against pycolmap."""

    scenes: tuple[Path, ...] = (
        Path("../shared/data/strecha/fountain-P11"),
        Path("../shared/data/strecha/entry-P10"),
    )
    """Folders with images/ and ground truth."""
    keypoints: tuple[int, ...] = (7000, 8000, 12000)
    """Ours, a photo."""
    sift_keypoints: int = 8192
    """pycolmap's, a photo, as COLMAP counts them: one with two orientations counts once."""
    max_size: int = 1600
    rounds: int = 3


@dataclass(frozen=True)
class Row:
    """One side on one scene: medians over the rounds."""

    scene: str
    side: str
    seconds: float  # the whole process
    extract: float
    match: float  # with verification
    map: float
    registered: int
    points: int
    observations: int
    track: float
    rotation: float  # degrees, median over all pairs of photos
    direction: float


def run_pycolmap(images: Path, output: Path, options: Arguments) -> dict[str, float]:
    """Seconds by stage."""
    arguments = map(str, (images, output, options.max_size, options.sift_keypoints))
    command = [sys.executable, "-c", PYCOLMAP, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return seconds


def run_ours(images: Path, output: Path, options: Arguments, keypoints: int) -> dict[str, float]:
    """Seconds by stage."""
    settings = ["--max-keypoints", str(keypoints), "--max-size", str(options.max_size), "--quiet"]
    command = [sys.executable, "-m", "desdis_match.reconstruct", "--images", images, "--output", output]
    subprocess.run([*command, *settings], check=True)
    report = Report.load(RunFolder(output).report)
    seconds = {name: stage.seconds for name, stage in report.stages.items()}
    return {**seconds, "match": seconds["pairs"] + seconds["match"] + seconds["verify"]}


def measure(scene: Path, options: Arguments) -> list[Row]:
    """All sides on one scene."""
    images, truth = scene / "images", find_truth(scene)
    names = list_images(images)
    sides = ["pycolmap SIFT", *(f"desdis_match, {number} keypoints" for number in options.keypoints)]
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    scores = {}
    for _ in range(options.rounds):
        for number, side in enumerate(sides):
            with tempfile.TemporaryDirectory() as folder:
                start = time.perf_counter()
                if number == 0:
                    seconds = run_pycolmap(images, Path(folder), options)
                else:
                    seconds = run_ours(images, Path(folder), options, options.keypoints[number - 1])
                seconds["whole"] = time.perf_counter() - start
                runs[side].append(seconds)
                model = max(read_models(Path(folder) / "sparse"), key=lambda m: m.num_reg_images())
                scores[side] = score_model(
                    model, truth, names, scene.name, side, "self", num_keypoints=0, num_verified=0
                )
    rows = []
    for side in sides:
        middle = {key: statistics.median(run[key] for run in runs[side]) for key in runs[side][0]}
        score = scores[side]
        rows.append(
            Row(
                scene.name,
                side,
                middle["whole"],
                middle["extract"],
                middle["match"],
                middle["map"],
                score.num_registered,
                score.num_points,
                score.num_observations,
                score.track_length,
                statistics.median(score.rotation_errors),
                statistics.median(score.translation_errors),
            )
        )
    return rows


def main(argv: list[str]) -> int:
    options = parse(Arguments, argv, "python eval/whole_run.py")
    rows = [row for scene in options.scenes for row in measure(scene, options)]
    head = "| scene | side | whole s | extract | match | map | photos | points | observations | track"
    lines = [head + " | rotation | direction |", "|---|---|" + "---:|" * 10]
    for r in rows:
        times = f"{r.seconds:.1f} | {r.extract:.1f} | {r.match:.1f} | {r.map:.1f}"
        model = f"{r.registered} | {r.points:,} | {r.observations:,} | {r.track:.2f}"
        lines.append(f"| {r.scene} | {r.side} | {times} | {model} | {r.rotation:.3f}° | {r.direction:.3f}° |")
    about = {"processor": processor(), "cores": available_cores(), "options": asdict(options)}
    stored = {**about, "rows": [asdict(row) for row in rows]}
    RESULTS.joinpath("whole_run.json").write_text(json.dumps(stored, indent=1, default=str) + "\n")
    lines += ["", f"{about['processor']}, {about['cores']} cores, {options.rounds} rounds, medians."]
    RESULTS.joinpath("whole_run.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))

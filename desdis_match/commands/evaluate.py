"""`python -m desdis_match.evaluate TASK ...`, `desdis-match evaluate TASK ...`."""

from __future__ import annotations

import importlib
import shlex
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import InputError
from ..evaluate.results import TaskResult
from .flags import parse

TASKS: dict[str, tuple[str, str, str, str]] = {
    # name: (module, config, function, what it measures)
    "hpatches": ("patches.hpatches", "HPatchesConfig", "evaluate_hpatches", "HPatches patch benchmark"),
    "homographies": (
        "planes.homographies",
        "HomographyConfig",
        "evaluate_homographies",
        "detect, describe, match images of planar scenes",
    ),
    "phototour": ("patches.phototour", "PhotoTourConfig", "evaluate_phototour", "FPR95 on PhotoTour patches"),
    "speed": ("speed", "SpeedConfig", "evaluate_speed", "seconds and memory of every stage"),
    "pairs": ("poses.two_view", "PairTaskConfig", "evaluate_pairs", "two-view geometry of image pairs"),
    "sfm": ("poses.sfm", "SfmConfig", "evaluate_sfm", "reconstructions, against true cameras"),
}
"""Every task: config -> TaskResult."""


def overview() -> str:
    """All tasks at a glance."""
    lines = ["usage: desdis-match evaluate TASK [options]   (TASK --help for its options)", "", "Tasks"]
    lines += [f"  {name:<14}{task[3]}" for name, task in TASKS.items()]
    lines += ["", "Tools"]
    lines += [f"  {name:<14}{tool[1]}" for name, tool in TOOLS.items()]
    lines += ["", "Every task takes --json FILE, --markdown FILE, --latex FILE, --plot FILE."]
    return "\n".join(lines)


def main(argv: Sequence[str]) -> int:
    """Run one task; returns the exit code."""
    if not argv or argv[0] in ("-h", "--help"):
        print(overview())
        return 0
    name = argv[0]
    if name in TOOLS:
        TOOLS[name][0](argv[1:])
        return 0
    if name not in TASKS:
        raise InputError(f"there is no task '{name}'; `desdis-match evaluate --help` lists them")
    module_name, config_name, function_name, _ = TASKS[name]
    module = importlib.import_module(f"desdis_match.evaluate.{module_name}")
    run_task(getattr(module, config_name), getattr(module, function_name), argv)
    return 0


def run_task(config_class: type, function: Callable[[Any], TaskResult], argv: Sequence[str]) -> None:
    """Parse a task's flags and those of the output, run it, show and store what it found."""
    import dataclasses

    from ..evaluate.output import OutputConfig, check_output, emit

    both = dataclasses.make_dataclass(
        "Both", [("task", config_class), ("output", OutputConfig, OutputConfig())], frozen=True
    )
    both.__doc__ = config_class.__doc__
    options: Any = parse(both, argv[1:], f"evaluate {argv[0]}")
    check_output(options.output)
    result = function(options.task)
    emit(result, options.output, shlex.join(["desdis-match", "evaluate", *argv]))


def run_report(argv: Sequence[str]) -> None:
    """`desdis-match evaluate report`; results may stand before the options, without a flag."""
    from ..evaluate.report import ReportConfig, build_report
    from ..evaluate.results import write_atomically
    from ..support.files import check_not_read

    arguments = list(argv)
    if arguments and not arguments[0].startswith("-"):
        arguments.insert(0, "--results")
    config = parse(ReportConfig, arguments, "evaluate report")
    for stored in config.results:
        check_not_read(config.output, stored)
    write_atomically(config.output, build_report(config.results).encode())
    print(f"written to {config.output}")


def run_make_hpatches(argv: Sequence[str]) -> None:
    """`desdis-match evaluate make-hpatches`."""
    from ..evaluate.patches.make_hpatches import MakeHPatchesConfig, make_hpatches

    config = parse(MakeHPatchesConfig, argv, "evaluate make-hpatches")
    counts = make_hpatches(config)
    for name, count in counts.items():
        print(f"{name:<24}{count:>6} patches")
    print(f"score descriptors on them: desdis-match evaluate hpatches --root {config.output} --split made")


def run_fetch(argv: Sequence[str]) -> None:
    """`desdis-match evaluate fetch`."""
    from ..evaluate.patches.download import FetchConfig, fetch_hpatches

    config = parse(FetchConfig, argv, "evaluate fetch")
    fetch_hpatches(config.root, config.what, config.address)
    print(f"the sequences are in {config.root}")


TOOLS: dict[str, tuple[Callable[[Sequence[str]], None], str]] = {
    "report": (run_report, "stored results -> one HTML page"),
    "make-hpatches": (run_make_hpatches, "image sequences -> patches in HPatches' layout"),
    "fetch": (run_fetch, "download the HPatches release"),
}
"""Commands beside the tasks: function of argv, what it does."""

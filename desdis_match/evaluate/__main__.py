"""`python -m desdis_match.evaluate TASK ...`, `desdis-match evaluate TASK ...`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

from .. import cli
from ..errors import InputError
from .results import TaskResult

TASKS: dict[str, tuple[str, str, str, str]] = {
    # name: (module, config, function, what it measures)
    "hpatches": ("hpatches", "HPatchesConfig", "evaluate_hpatches", "HPatches patch benchmark"),
    "homographies": (
        "homographies",
        "HomographyConfig",
        "evaluate_homographies",
        "detect, describe, match images of planar scenes",
    ),
    "phototour": ("phototour", "PhotoTourConfig", "evaluate_phototour", "FPR95 on PhotoTour patches"),
    "speed": ("speed", "SpeedConfig", "evaluate_speed", "seconds and memory of every stage"),
    "pairs": ("two_view", "PairsConfig", "evaluate_pairs", "two-view geometry of image pairs"),
    "sfm": ("sfm", "SfmConfig", "evaluate_sfm", "reconstructions, against true cameras"),
}
"""Every task: config -> TaskResult."""

TOOLS: dict[str, tuple[str, str]] = {
    "report": ("report", "stored results -> one HTML page"),
    "make-hpatches": ("make_hpatches", "image sequences -> patches in HPatches' layout"),
    "fetch": ("download", "download the HPatches release"),
}
"""Commands beside the tasks: module with `main(argv)`, what it does."""


def overview() -> str:
    """All tasks at a glance."""
    lines = ["usage: desdis-match evaluate TASK [options]   (TASK --help for its options)", "", "Tasks"]
    lines += [f"  {name:<14}{task[3]}" for name, task in TASKS.items()]
    if TOOLS:
        lines += ["", "Tools"]
        lines += [f"  {name:<14}{tool[1]}" for name, tool in TOOLS.items()]
    lines += ["", "Every task takes --json FILE, --markdown FILE, --plot FILE."]
    return "\n".join(lines)


def main(argv: Sequence[str]) -> int:
    """Run one task; returns the exit code."""
    if not argv or argv[0] in ("-h", "--help"):
        print(overview())
        return 0
    name = argv[0]
    if name in TOOLS:
        code = importlib.import_module(f".{TOOLS[name][0]}", __package__).main(argv[1:])
        return int(code)
    if name not in TASKS:
        raise InputError(f"there is no task '{name}'; `desdis-match evaluate --help` lists them")
    module_name, config_name, function_name, _ = TASKS[name]
    module = importlib.import_module(f".{module_name}", __package__)
    run_task(getattr(module, config_name), getattr(module, function_name), argv)
    return 0


def run_task(config_class: type, function: Callable[[Any], TaskResult], argv: Sequence[str]) -> None:
    """Parse a task's flags and those of the output, run it, show and store what it found."""
    import dataclasses

    from ..options import parse
    from .results import OutputConfig, check_output, emit

    both = dataclasses.make_dataclass(
        "Both", [("task", config_class), ("output", OutputConfig, OutputConfig())], frozen=True
    )
    both.__doc__ = config_class.__doc__
    options: Any = parse(both, argv[1:], f"evaluate {argv[0]}")
    check_output(options.output)
    result = function(options.task)
    emit(result, options.output, argv)


if __name__ == "__main__":
    sys.exit(cli.run(main, sys.argv[1:]))

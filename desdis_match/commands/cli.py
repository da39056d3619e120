"""`desdis-match <command>`: one table of commands, each a module with `main(argv) -> exit code`.

A module is imported only when its command runs, so that `desdis-match --help` is instant.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence

from ..errors import DesDisError

COMMANDS: dict[str, tuple[str, str, str]] = {
    # name: (group, "module:function", what it does)
    "reconstruct": ("Reconstruct", "desdis_match.commands.reconstruct:main", "photos in, a COLMAP model out"),
    "extract": ("Reconstruct", "desdis_match.commands.stages:main_extract", "photos -> features.h5"),
    "pairs": ("Reconstruct", "desdis_match.commands.stages:main_pairs", "features.h5 -> pairs.txt"),
    "match": (
        "Reconstruct",
        "desdis_match.commands.stages:main_match",
        "features.h5 and pairs.txt -> matches.h5",
    ),
    "map": (
        "Reconstruct",
        "desdis_match.commands.stages:main_map",
        "features.h5 and matches.h5 -> a COLMAP model",
    ),
    "add": ("Reconstruct", "desdis_match.commands.add:main", "new photos into the model of an earlier run"),
    "localize": ("Reconstruct", "desdis_match.commands.localize:main", "poses of new photos against a model"),
    "synthetic": (
        "Reconstruct",
        "desdis_match.commands.synthetic:main",
        "render a scene with ground truth to try things on",
    ),
    "view": ("Look", "desdis_match.commands.view:main", "a reconstruction as one HTML page"),
    "doctor": ("Look", "desdis_match.commands.doctor:main", "versions, devices, weights, and a self-test"),
    "export-onnx": ("Describe", "desdis_match.commands.export_onnx:main", "a descriptor as an ONNX file"),
    "evaluate": (
        "Measure",
        "desdis_match.commands.evaluate:main",
        "benchmarks: patches, homographies, models, speed",
    ),
    "train": ("Train", "desdis_match.commands.train:main", "train or distill a patch descriptor"),
    "build-patches": (
        "Train",
        "desdis_match.commands.build_patches:main",
        "photos and a COLMAP model -> patches to train on",
    ),
    "export": (
        "Exchange",
        "desdis_match.commands.exchange:main_export",
        "a model -> COLMAP, PLY, nerfstudio, Bundler, NVM, undistorted photos",
    ),
    "import-database": (
        "Exchange",
        "desdis_match.commands.exchange:main_import_database",
        "a COLMAP database -> features.h5 and matches.h5",
    ),
    "export-database": (
        "Exchange",
        "desdis_match.commands.exchange:main_export_database",
        "features.h5 and matches.h5 -> into a COLMAP database",
    ),
    "export-features": (
        "Exchange",
        "desdis_match.commands.exchange:main_export_features",
        "features.h5 -> COLMAP's text files",
    ),
}
"""Every command, in the order `--help` shows it."""


def run(function: Callable[[Sequence[str]], int], argv: Sequence[str]) -> int:
    """Run a command's main; a DesDisError becomes its one sentence on stderr and its exit code."""
    try:
        return function(argv)
    except DesDisError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        return 130


def main(argv: Sequence[str]) -> int:
    """Dispatch `argv` (without the program's name) to its command; returns the exit code."""
    if not argv or argv[0] in ("-h", "--help"):
        print(overview())
        return 0
    if argv[0] == "--version":
        from .. import __version__

        print(f"desdis-match {__version__}")
        return 0
    if argv[0] not in COMMANDS:
        print(f"error: there is no command '{argv[0]}'; `desdis-match --help` lists them", file=sys.stderr)
        return 2
    module, function = COMMANDS[argv[0]][1].split(":")
    return run(getattr(importlib.import_module(module), function), argv[1:])


def overview() -> str:
    """The whole work at a glance: commands by group."""
    width = max(map(len, COMMANDS)) + 2
    lines = ["usage: desdis-match COMMAND [options]   (COMMAND --help for its options)"]
    for group in dict.fromkeys(group for group, _, _ in COMMANDS.values()):
        lines += ["", group]
        lines += [f"  {name:<{width}}{text}" for name, (g, _, text) in COMMANDS.items() if g == group]
    return "\n".join(lines)


def entry() -> None:
    """Console script."""
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    entry()

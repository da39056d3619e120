"""`desdis-match reconstruct`, `python -m desdis_match.reconstruct`: photos in, a model and a report out."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from ..pipeline.pairing import settle_pairs
from ..pipeline.reconstruct import ReconstructConfig, check, default_output, reconstruct_checked
from ..pipeline.report import print_report
from ..support.progress import set_verbosity
from .flags import parse


def main(argv: Sequence[str]) -> int:
    """`desdis-match reconstruct`: exit code 2 for wrong input, 3 when no model forms."""
    config = parse(ReconstructConfig, argv, "reconstruct")
    set_verbosity(config.verbose, config.quiet)
    names = check(config)
    if config.output is None and not config.quiet and not config.json:
        print(f"results go to {default_output(config.images)}")
    if names and not config.quiet and not config.json:  # frames of films are not there yet
        chosen = settle_pairs(config.images, config.pairs, config.map.poses)
        if chosen.why:
            print(f"pairs: {chosen.config.pairs} ({chosen.why})")
    result = reconstruct_checked(config)
    if config.json:
        print(result.report.to_json())
    elif not config.quiet:
        print_report(result.report, result.output, Console())
    return 0

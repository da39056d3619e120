"""`python -m desdis_match.evaluate`: benchmarks of descriptors, keypoints and models."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from ..commands.cli import run
    from ..commands.evaluate import main

    sys.exit(run(main, sys.argv[1:]))

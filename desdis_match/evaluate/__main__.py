"""`python -m desdis_match.evaluate`: benchmarks of descriptors, keypoints and models."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from ..commands.cli import main

    sys.exit(main(["evaluate", *sys.argv[1:]]))

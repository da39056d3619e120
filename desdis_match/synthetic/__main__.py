"""`python -m desdis_match.synthetic`: a rendered scene with its true cameras."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from ..commands.cli import run
    from ..commands.synthetic import main

    sys.exit(run(main, sys.argv[1:]))

"""`python -m desdis_match.synthetic`: a rendered scene with its true cameras."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from ..commands.cli import main

    sys.exit(main(["synthetic", *sys.argv[1:]]))

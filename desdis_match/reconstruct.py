"""`python -m desdis_match.reconstruct`: photos in, a COLMAP model and a report out."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from .commands.cli import main

    sys.exit(main(["reconstruct", *sys.argv[1:]]))

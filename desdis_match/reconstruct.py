"""`python -m desdis_match.reconstruct`: photos in, a COLMAP model and a report out."""

from __future__ import annotations

from .commands.cli import entry

if __name__ == "__main__":
    entry("reconstruct")

"""`python -m desdis_match COMMAND`: what the console script `desdis-match` does."""

from __future__ import annotations

from .commands.cli import entry

if __name__ == "__main__":
    entry()

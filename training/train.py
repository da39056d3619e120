"""Train a descriptor: python training/train.py PRESET [--output DIR] [overrides], as `desdis-match train`."""

import sys

from desdis_match.cli import run
from desdis_match.distill.command import main

if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))

"""Train a descriptor: python training/train.py PRESET [--output DIR] [overrides], as `desdis-match train`."""

import sys

from desdis_match.commands.cli import run
from desdis_match.commands.train import main

if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))

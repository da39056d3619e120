"""Recipe of desdis_match/weights/matchability.safetensors, the heads behind `--ranking matchability`.

About five minutes on one core:  python training/matchability.py ../shared/data/photos/single_photos OUTPUT
Every fourth photo is held back, and the scores on those are printed and kept in the file's header. Oxford,
HPatches and Strecha's scenes are left out: they are what it is measured on.
"""

import json
import sys
from dataclasses import asdict
from itertools import chain
from pathlib import Path

import torch

from desdis_match.distill.matchability import MatchabilityConfig, compare, make_examples, train_head
from desdis_match.features.ranking import save_heads
from desdis_match.photos.images import list_images

PHOTOS, OUTPUT = Path(sys.argv[1]), Path(sys.argv[2])
NUM_PHOTOS = int(sys.argv[3]) if len(sys.argv) > 3 else None

torch.set_num_threads(1)
config = MatchabilityConfig()
photos = [PHOTOS / name for name in list_images(PHOTOS)][:NUM_PHOTOS]
heads, scores = {}, {}
for response in ("dog", "hessian"):
    made = make_examples(photos, response, config)
    heads[response] = train_head(chain(*(one for i, one in enumerate(made) if i % 4)), config)
    scores[response] = compare(heads[response], list(chain(*made[::4])))
about = {"photos": len(photos), "source": PHOTOS.name, "config": asdict(config), "held_back": scores}
save_heads(OUTPUT, heads, about)
print(json.dumps(scores, indent=1))

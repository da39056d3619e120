"""Describe patches with an exported descriptor: NumPy and onnxruntime are all it takes.

    desdis-match export-onnx --descriptor desdis-8 --output desdis-8.onnx
    python pipelines/describe_onnx.py desdis-8.onnx [PATCHES.npy]

PATCHES.npy: (N, 32, 32) or (N, 1, 32, 32), uint8 or float in [0, 1]; its descriptors go to
PATCHES.descriptors.npy. Without it the script draws 200 patches, changes their light, adds noise, and finds
each one again.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])


def describe(patches: np.ndarray) -> np.ndarray:
    """(N, 32, 32) or (N, 1, 32, 32), uint8 or float in [0, 1] -> (N, D) unit vectors."""
    if patches.shape[1:] not in ((32, 32), (1, 32, 32)):
        sys.exit(f"error: patches have shape {patches.shape}; give (N, 32, 32) or (N, 1, 32, 32)")
    scale = 255 if patches.dtype == np.uint8 else 1
    values = (patches / scale).astype(np.float32).reshape(-1, 1, 32, 32)
    (descriptors,) = session.run(None, {"patches": values})
    return descriptors


if len(sys.argv) > 2:
    patches = np.load(sys.argv[2], allow_pickle=False)
    target = Path(sys.argv[2]).with_suffix(".descriptors.npy")
    np.save(target, describe(patches))
    print(f"{len(patches)} descriptors written to {target}")
else:
    random = np.random.default_rng(0)
    patches = random.random((200, 8, 8)).repeat(4, axis=1).repeat(4, axis=2)
    changed = np.clip(0.6 * patches + 0.3 + 0.02 * random.standard_normal(patches.shape), 0, 1)
    similarity = describe(patches) @ describe(changed).T  # cosines: larger is nearer
    found = (similarity.argmax(axis=1) == np.arange(len(patches))).sum()
    print(f"{found} of {len(patches)} patches found their partner")

"""The data inside a page."""

import base64
import json
import re
import shutil

from desdis_match.support.native import pycolmap


def with_second_model(out, run):
    """Copy the run `out` to `run` and give it a second model, of half the photos, which is returned."""
    shutil.copytree(out, run)
    half = pycolmap.Reconstruction(run / "sparse" / "0")
    for name in ("view_000.jpg", "view_001.jpg", "view_002.jpg"):
        half.deregister_frame(half.find_image_with_name(name).frame_id)
    (run / "sparse" / "1").mkdir()
    half.write_binary(run / "sparse" / "1")
    return half


def blocks(path_or_text):
    """The data of a page: JSON parsed, arrays as bytes."""
    text = path_or_text if isinstance(path_or_text, str) else path_or_text.read_text()
    found = dict(
        re.findall(r'<script type="application/octet-stream" id="data-([\w-]+)">(.*?)</script>', text)
    )
    meta = re.search(r'<script type="application/json" id="data-meta">(.*?)</script>', text, re.S)
    return json.loads(meta[1]), {name: base64.b64decode(data) for name, data in found.items()}

"""The data inside a page."""

import base64
import json
import re


def blocks(path_or_text):
    """The data of a page: JSON parsed, arrays as bytes."""
    text = path_or_text if isinstance(path_or_text, str) else path_or_text.read_text()
    found = dict(
        re.findall(r'<script type="application/octet-stream" id="data-([\w-]+)">(.*?)</script>', text)
    )
    meta = re.search(r'<script type="application/json" id="data-meta">(.*?)</script>', text, re.S)
    return json.loads(meta[1]), {name: base64.b64decode(data) for name, data in found.items()}

"""Data inside a page: JSON and typed arrays in base64, in elements that a browser does not run."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..conventions import PIXEL_CENTRE
from ..types import Float32


class Blocks:
    """Data as script elements that the browser does not run: JSON, and typed arrays in base64."""

    def __init__(self) -> None:
        self._parts: list[str] = []

    def add(self, name: str, array: NDArray[Any]) -> None:
        """Little-endian bytes of `array` under the element id `name`."""
        little = array.astype(array.dtype.newbyteorder("<"))
        self.add_bytes(name, little.tobytes())

    def add_bytes(self, name: str, data: bytes) -> None:
        """Any bytes."""
        text = base64.b64encode(data).decode("ascii")
        self._parts.append(f'<script type="application/octet-stream" id="data-{name}">{text}</script>')

    def add_json(self, name: str, value: Any) -> None:
        """JSON; `<` is escaped, so no name of an image can end the element."""
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        text = text.replace("<", "\\u003c")
        self._parts.append(f'<script type="application/json" id="data-{name}">{text}</script>')

    def html(self) -> str:
        """All elements."""
        return "\n".join(self._parts)


def spread(num: int, most: int) -> NDArray[np.int64]:
    """At most `most` of `num` rows, evenly spread, ascending."""
    if num <= most:
        return np.arange(num)
    result: NDArray[np.int64] = np.linspace(0, num - 1, most).round().astype(np.int64)
    return result


def quantise(xy: Float32, size: tuple[int, int], orientation: int = 1) -> NDArray[np.uint16]:
    """Pixels (N, 2) as 16-bit fractions of the photo as it is shown, upright by EXIF's `orientation`.

    size: of the photo as stored, whose area goes from -0.5 to size - 0.5.
    """
    fractions = np.clip((xy + PIXEL_CENTRE) / np.maximum(size, 1), 0, 1)
    return np.round(upright_fractions(fractions, orientation) * 65535).astype(np.uint16)


def upright_fractions(fractions: NDArray[np.floating[Any]], orientation: int) -> NDArray[np.floating[Any]]:
    """Places (N, 2) in a photo as stored, fractions of its sides -> those in the photo turned by EXIF.

    orientation: Exif 2.32's tag 0x0112; 5 to 8 swap the sides.
    """
    x, y = fractions[:, 0], fractions[:, 1]
    turned = {
        2: (1 - x, y),
        3: (1 - x, 1 - y),
        4: (x, 1 - y),
        5: (y, x),
        6: (1 - y, x),
        7: (1 - y, 1 - x),
        8: (y, 1 - x),
    }.get(orientation, (x, y))
    return np.stack(turned, axis=1)

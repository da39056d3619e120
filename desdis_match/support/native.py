"""pycolmap, loaded behind OpenCV: `from ..support.native import pycolmap`, nowhere `import pycolmap`.

Loaded the other way round, OpenCV uses the zlib of pycolmap's wheel and crashes when it writes a PNG.
"""

import cv2  # noqa: F401 - the order is the point
import pycolmap

__all__ = ["pycolmap"]

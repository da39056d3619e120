"""pycolmap, loaded behind OpenCV: `from ..support.native import pycolmap`, nowhere `import pycolmap`.

Loaded the other way round, OpenCV uses the zlib of pycolmap's wheel and crashes when it writes a PNG. Its
logging library takes SIGTERM for itself and prints a stack of thirty lines; the signal goes back to whom it
belonged.
"""

import cv2  # noqa: F401 - the order is the point

from .signals import stops_wait

with stops_wait():
    import pycolmap

__all__ = ["pycolmap"]

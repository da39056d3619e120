"""pycolmap, loaded behind OpenCV: `from ..support.native import pycolmap`, nowhere `import pycolmap`.

Loaded the other way round, OpenCV uses the zlib of pycolmap's wheel and crashes when it writes a PNG. Its
logging library takes SIGTERM for itself and prints a stack of thirty lines; the signal goes back to whom it
belonged. That library would also keep its lines in a file of each process in the system's temporary folder,
which nobody deletes: they go to stderr alone, unless a folder for them is given (GLOG_log_dir).
"""

import cv2  # noqa: F401 - the order is the point

from .signals import stops_wait

with stops_wait():
    import pycolmap

if not pycolmap.logging.log_dir:
    for level in pycolmap.logging.Level.__members__.values():
        pycolmap.logging.set_log_destination(level, "")  # COLMAP's adjustment sets `logtostderr` back

__all__ = ["pycolmap"]

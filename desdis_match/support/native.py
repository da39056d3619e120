"""pycolmap, loaded behind OpenCV: `from ..support.native import pycolmap`, nowhere `import pycolmap`.

Loaded the other way round, OpenCV uses the zlib of pycolmap's wheel and crashes when it writes a PNG. Its
logging library takes SIGTERM for itself and prints a stack of thirty lines; the signal goes back to whom it
belonged.
"""

import signal
import threading

import cv2  # noqa: F401 - the order is the point

_on_terminate = signal.getsignal(signal.SIGTERM)

import pycolmap  # noqa: E402

if threading.current_thread() is threading.main_thread() and _on_terminate is not None:
    signal.signal(signal.SIGTERM, _on_terminate)

__all__ = ["pycolmap"]

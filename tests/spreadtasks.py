"""Tasks that worker processes of tests can import."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Square:
    """Squares numbers; the first process to see `deadly` dies of it, a later one does not."""

    folder: Path
    deadly: int | None = None
    always: bool = False

    def __call__(self, items):
        for item in items:
            mark = self.folder / f"died-{item}"
            if item == self.deadly and (self.always or not mark.exists()):
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            with (self.folder / "seen").open("a") as file:
                file.write(f"{item}\n")
            yield str(item), {"square": np.array(item * item)}

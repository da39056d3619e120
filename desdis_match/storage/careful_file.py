"""A file for HDF5 to write to that keeps the error of a full disk instead of passing it on.

The HDF5 library cannot close a file whose writes fail: it crashes the process. Here a failed write is kept in
memory, so that the library ends its work in peace, and `check` raises what happened.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any


class CarefulFile(io.RawIOBase):
    """A new file, read and written at positions; context manager."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = open(path, "wb+", buffering=0)  # noqa: SIM115 - closed by close()
        self._position = 0
        self._error: OSError | None = None
        self._lost: list[tuple[int, bytes]] = []  # where, what the disk did not take

    def check(self) -> None:
        """Raise the first error that writing met."""
        if self._error is not None:
            raise self._error

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to `offset`."""
        if whence == io.SEEK_END:
            lost = max((start + len(data) for start, data in self._lost), default=0)
            offset += max(self._file.seek(0, io.SEEK_END), lost)
        elif whence == io.SEEK_CUR:
            offset += self._position
        self._position = offset
        return offset

    def tell(self) -> int:
        """The position."""
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer`; what was never written reads as zeros."""
        view = memoryview(buffer).cast("B")
        self._file.seek(self._position)
        filled = 0
        while filled < len(view) and (count := self._file.readinto(view[filled:])):
            filled += count
        view[filled:] = bytes(len(view) - filled)
        for start, data in self._lost:
            first, last = max(start, self._position), min(start + len(data), self._position + len(view))
            if first < last:
                view[first - self._position : last - self._position] = data[first - start : last - start]
        self._position += len(view)
        return len(view)

    def write(self, data: Any) -> int:
        """Write all of `data`, to the disk or, once that has failed, to memory."""
        view = memoryview(data).cast("B")
        done = 0
        try:
            self._file.seek(self._position)
            while self._error is None and done < len(view):
                done += self._file.write(view[done:]) or 0
        except OSError as error:
            self._error = error
        if done < len(view):
            self._lost.append((self._position + done, bytes(view[done:])))
        self._position += len(view)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Set the file's length."""
        size = self._position if size is None else size
        try:
            if self._error is None:
                self._file.truncate(size)
        except OSError as error:
            self._error = error
        return size

    def close(self) -> None:
        """Close the file on disk."""
        self._file.close()
        super().close()

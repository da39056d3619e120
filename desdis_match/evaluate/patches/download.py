"""`desdis-match evaluate fetch`: the HPatches release, patches or image sequences, from public addresses.

The benchmark's first address (icvl.ee.ic.ac.uk) often does not answer; the authors put the archives on
Hugging Face, too. A stopped download goes on where the server allows it.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...errors import InputError
from ...support.download import check_as_before, download, remember
from ...support.files import FORBIDDEN, FULL, file_error

logger = logging.getLogger(__name__)

What = Literal["patches", "sequences"]

AUTHORS = "https://huggingface.co/datasets/vbalnt/hpatches/resolve/main"
FORMER = "http://icvl.ee.ic.ac.uk/vbalnt/hpatches"
ADDRESSES: dict[str, tuple[str, ...]] = {
    "patches": (f"{AUTHORS}/hpatches-release.zip", f"{FORMER}/hpatches-release.tar.gz"),
    "sequences": (
        f"{AUTHORS}/hpatches-sequences-release.zip",
        f"{FORMER}/hpatches-sequences-release.tar.gz",
    ),
}
FILES: dict[str, tuple[str, ...]] = {
    "patches": ("ref.png", *(f"{kind}{i}.png" for kind in "eht" for i in range(1, 6))),
    "sequences": (*(f"{i}.ppm" for i in range(1, 7)), *(f"H_1_{i}" for i in range(2, 7))),
}
"""What each sequence of the release holds; the first file of patches and a homography tell one."""
MARKERS = {"patches": "ref.png", "sequences": "H_1_2"}
NUM_SEQUENCES = 116
"""In the release, of patches or of images."""


@dataclass(frozen=True)
class FetchConfig:
    """Download the HPatches release and unpack it."""

    root: Path
    """Folder in which the sequences shall lie."""
    what: What = "patches"
    """patches: for task hpatches (4.2 GB); sequences: for task homographies (1.3 GB)."""
    address: str | None = None
    """Another address of the archive (http, https or file; zip or tar.gz)."""


def fetch_hpatches(root: Path, what: What = "patches", address: str | None = None) -> Path:
    """Download and unpack a release so that its sequences lie in `root`; nothing is done when some are there.

    The archive's own checksums are checked, that each sequence has all of its files, that the published
    addresses send all sequences, and that an address sends what it has sent before. Raises `InputError` when
    no address answers or what it sends is no such archive.
    """
    if any(root.glob(f"*/{MARKERS[what]}")) and not any(root.glob(".download-*")):  # else it was stopped
        return root
    addresses = (address,) if address else ADDRESSES[what]
    root.mkdir(parents=True, exist_ok=True)
    failures = []
    for source in addresses:
        archive = root / f".download-{hashlib.sha256(source.encode()).hexdigest()[:12]}"
        try:
            if not archive.is_file():
                download(source, archive, goes_on=True)
            check_as_before(source, archive)
            settle(archive, root, what, source)
            return root
        except InputError as error:
            logger.warning("%s", error)
            failures.append(str(error))
    raise InputError(
        "; ".join(failures) + f"; fetch the archive by hand and unpack its sequences into {root}"
    )


def settle(archive: Path, root: Path, what: What, source: str) -> None:
    """Unpack `archive` and move the sequences in it to `root`; the archive is removed, but on a full disk."""
    place = root / ".unpacked"
    try:
        unpack(archive, place)
        found = _sequences(place, what, source)
        remember(source, archive)
        for folder in found:
            shutil.rmtree(root / folder.name, ignore_errors=True)  # of a run killed just here
            folder.replace(root / folder.name)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno in (*FULL, *FORBIDDEN):
            raise file_error(error, root, "written") from error
        archive.unlink(missing_ok=True)
        raise InputError(
            f"{source} sent an archive that cannot be unpacked ({error}): damaged, or cut short"
        ) from error
    except InputError:
        archive.unlink(missing_ok=True)
        raise
    finally:
        shutil.rmtree(place, ignore_errors=True)
    archive.unlink(missing_ok=True)


def _sequences(place: Path, what: What, source: str) -> list[Path]:
    """Folders of the sequences. Raises InputError for those that lack a file, and where some are missing."""
    found = sorted({path.parent for path in place.rglob(MARKERS[what])})
    if not found:
        raise InputError(
            f"{source} holds no sequence with {MARKERS[what]}, so it is not the HPatches release"
        )
    for folder in found:
        missing = [name for name in FILES[what] if not (folder / name).is_file()]
        if missing:
            raise InputError(f"{source} is not whole: its sequence {folder.name} has no {missing[0]}")
    if len(found) != NUM_SEQUENCES:
        short = f"{source} holds {len(found)} sequences, the release has {NUM_SEQUENCES}"
        if source in ADDRESSES[what]:
            raise InputError(f"{short}; it is cut short, or has changed")
        logger.warning("%s", short)
    return found


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar archive; a member that would land outside `folder` is refused."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    base = folder.resolve()

    def check(name: str) -> None:
        if not (base / name).resolve().is_relative_to(base):
            raise InputError(f"the archive holds {name}, which would be unpacked outside its folder")

    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            for name in packed.namelist():
                check(name)
            packed.extractall(folder)
        return
    with tarfile.open(archive) as tape:
        for member in tape:
            check(member.name)
            if member.isfile():  # links and devices have no business in a data set
                tape.extract(member, folder, set_attrs=False)
        if tape.fileobj is not None:
            while tape.fileobj.read(1 << 20):  # gzip's own checksum stands behind the last member
                pass

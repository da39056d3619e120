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
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...errors import InputError
from ...support.download import download

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
MARKERS = {"patches": "ref.png", "sequences": "H_1_2"}
"""A file that every sequence of the release has."""


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

    Raises `InputError` when no address answers or what it sends is no archive of sequences.
    """
    marker = MARKERS[what]
    if any(root.glob(f"*/{marker}")):
        return root
    addresses = (address,) if address else ADDRESSES[what]
    root.mkdir(parents=True, exist_ok=True)
    failures = []
    for source in addresses:
        archive = root / f".download-{hashlib.sha256(source.encode()).hexdigest()[:12]}"
        try:
            if not archive.is_file():
                download(source, archive, goes_on=True)
            settle(archive, root, marker, source)
            return root
        except InputError as error:
            logger.warning("%s", error)
            failures.append(str(error))
    raise InputError(
        "; ".join(failures) + f"; fetch the archive by hand and unpack its sequences into {root}"
    )


def settle(archive: Path, root: Path, marker: str, source: str) -> None:
    """Unpack `archive` and move the sequences in it to `root`; the archive is removed."""
    place = root / ".unpacked"
    try:
        unpack(archive, place)
        found = sorted({path.parent for path in place.rglob(marker)})
        if not found:
            raise InputError(f"{source} holds no sequence with {marker}, so it is not the HPatches release")
        for folder in found:
            folder.replace(root / folder.name)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
        raise InputError(f"{source} sent an archive that cannot be unpacked ({error})") from error
    finally:
        shutil.rmtree(place, ignore_errors=True)
        archive.unlink(missing_ok=True)


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

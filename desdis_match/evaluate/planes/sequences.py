"""Data sets of planar sequences: the folders of a root, each read by photos/planar.py."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...errors import InputError
from ...photos.planar import PlanarSequence, read_sequence
from ..contenders import check_distinct


def find_sequences(roots: Sequence[Path]) -> tuple[list[PlanarSequence], list[str]]:
    """Sequences in each root: the root itself or its sub-folders; a root without any is an error."""
    check_distinct((root.resolve().name for root in roots), "folders")
    sequences: list[PlanarSequence] = []
    notes: list[str] = []
    for root in roots:
        if not root.is_dir():
            raise InputError(
                f"{root} is no folder; give folders of sequences (1.ppm, H_1_2 or img1.png, H1to2p)"
            )
        alone, remarks = read_sequence(root, root.resolve().name)
        found = [alone] if alone else []
        notes += remarks
        if not found:
            for folder in sorted(p for p in root.iterdir() if p.is_dir()):
                sequence, remarks = read_sequence(folder, root.resolve().name)
                notes += remarks
                if sequence:
                    found.append(sequence)
        if not found:
            raise InputError(f"{root} holds no sequence (1.ppm, H_1_2 or img1.png, H1to2p)")
        sequences += found
    return sequences, notes

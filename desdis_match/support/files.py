"""Files that appear whole or not at all, and configurations as text that can be compared."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

Config = Mapping[str, Any]
"""What made a file: JSON values, paths and NumPy scalars by field name."""


def canonical_json(config: Config) -> str:
    """One spelling for equal configurations: sorted keys, paths and tuples as text and lists."""
    return json.dumps(config, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a configuration holds {type(value).__name__}, which JSON cannot say")


def config_differences(old: Config | None, new: Config) -> list[str]:
    """`field: old -> new` for each field that differs, nested fields with dots; empty when equal.

    old: None for a file that carries no configuration, such as hloc's.
    """
    flat_old, flat_new = (dict(_flatten(json.loads(canonical_json(c)))) for c in (old or {}, new))
    fields = sorted(flat_old.keys() | flat_new.keys())
    shown = ((f, flat_old.get(f, "(absent)"), flat_new.get(f, "(absent)")) for f in fields)
    return [f"{field}: {a} -> {b}" for field, a, b in shown if a != b]


def _flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _flatten(item, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, json.dumps(value, ensure_ascii=False)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A hidden name beside `path` to write to; it takes the place of `path` when the block ends well.

    The name is fixed, so what a killed run left is overwritten by the next. One writer per file.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise

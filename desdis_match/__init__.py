"""Image matching and 3-D reconstruction around DesDis, distilled local descriptors.

    import desdis_match as dm

    features0, features1 = dm.extract(["a.jpg", "b.jpg"])
    view = dm.verify(features0, features1, dm.match(features0, features1))

docs/api.md shows more. Names are loaded when first asked for, so that importing the package takes no time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .support.lazy import names_on_demand

__version__ = "0.2.0"

if TYPE_CHECKING:
    from .colmap.localization import Localization
    from .descriptors import Descriptor
    from .errors import DesDisError, InputError, NoModelError
    from .pipeline.reconstruct import ReconstructResult
    from .public import (
        extract,
        load_descriptor,
        localize,
        match,
        match_many,
        plot_matches,
        reconstruct,
        verify,
    )
    from .storage.features_file import read_features
    from .storage.matches_file import read_matches
    from .types import Features, Matches, TwoView

__all__ = [
    "DesDisError",
    "Descriptor",
    "Features",
    "InputError",
    "Localization",
    "Matches",
    "NoModelError",
    "ReconstructResult",
    "TwoView",
    "__version__",
    "extract",
    "load_descriptor",
    "localize",
    "match",
    "match_many",
    "plot_matches",
    "read_features",
    "read_matches",
    "reconstruct",
    "verify",
]

_ELSEWHERE = {
    "DesDisError": "errors",
    "Descriptor": "descriptors",
    "Features": "types",
    "InputError": "errors",
    "Localization": "colmap.localization",
    "Matches": "types",
    "NoModelError": "errors",
    "ReconstructResult": "pipeline.reconstruct",
    "TwoView": "types",
    "read_features": "storage.features_file",
    "read_matches": "storage.matches_file",
}
"""Public names that are not public.py's -> the module that has them."""

__getattr__ = names_on_demand(__name__, __all__, _ELSEWHERE, "public")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

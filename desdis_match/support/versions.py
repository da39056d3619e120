"""Which version of a package is installed, also under another distribution's name."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, packages_distributions, version

PACKAGES = (
    "torch",
    "kornia",
    "pycolmap",
    "opencv-python",
    "onnx",
    "onnxruntime",
    "faiss-cpu",
    "numpy",
    "scipy",
    "h5py",
    "safetensors",
)
"""Whose versions can change a result."""

MODULES = {"opencv-python": "cv2", "faiss-cpu": "faiss"}
"""What is imported, where the package's name does not tell."""

OTHERS = {
    "opencv-python": (
        "opencv-python-headless",
        "opencv-contrib-python",
        "opencv-contrib-python-headless",
    )
}
"""Usual distributions of the same module: to look for who brings a module, all that is installed is read."""


def installed_version(package: str) -> str | None:
    """Of `package`, or of one that brings the same module (opencv-python-headless); None: not installed."""
    for name in (package, *OTHERS.get(package, ())):
        with suppress(PackageNotFoundError):
            return version(name)
    others = packages_distributions().get(MODULES.get(package, package.replace("-", "_")))
    return version(others[0]) if others else None


def installed_versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """By package, of Python too; what is not installed is `unknown`."""
    found = {package: installed_version(package) or "unknown" for package in packages}
    return {"python": platform.python_version(), **found}

"""Which version of a package is installed, also under another distribution's name."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, packages_distributions, version

MODULES = {"opencv-python": "cv2", "faiss-cpu": "faiss"}
"""What is imported, where the package's name does not tell."""


def installed_version(package: str) -> str | None:
    """Of `package`, or of one that brings the same module (opencv-python-headless); None: not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        module = MODULES.get(package, package.replace("-", "_"))
        others = packages_distributions().get(module)
        return version(others[0]) if others else None

"""Versions are found whatever distribution brings a module."""

from importlib.metadata import PackageNotFoundError, version

import numpy as np
import pytest

from desdis_match.support import versions


def test_opencv_is_found_under_its_usual_names_without_reading_all_that_is_installed(monkeypatch):
    def only(name: str) -> str:
        if name != "opencv-contrib-python-headless":
            raise PackageNotFoundError(name)
        return "4.11"

    monkeypatch.setattr(versions, "version", only)
    monkeypatch.setattr(versions, "packages_distributions", lambda: pytest.fail("everything was read"))
    assert versions.installed_version("opencv-python") == "4.11"


def test_a_distribution_of_another_name_is_found_by_its_module(monkeypatch):
    def known(name: str) -> str:
        if name == "numpy":
            raise PackageNotFoundError(name)
        return version("numpy")

    monkeypatch.setattr(versions, "version", known)
    monkeypatch.setattr(versions, "packages_distributions", lambda: {"numpy": ["some-numpy"]})
    assert versions.installed_version("numpy") == np.__version__
    monkeypatch.setattr(versions, "packages_distributions", dict)
    assert versions.installed_version("numpy") is None

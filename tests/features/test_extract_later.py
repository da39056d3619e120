"""A photo that comes later stands as the photo of the set that it matches best, not as all of them."""

import math
from pathlib import Path

import numpy as np
import pytest

from desdis_match.features import extract_later
from desdis_match.features.extract_later import CLEAR, MIN_GAIN, WayUp
from desdis_match.types import Features

PHOTO = Path("photo.jpg")


def features(rows: np.ndarray, angle: float = 0.0) -> Features:
    """Keypoints whose descriptors are the given unit vectors."""
    count = len(rows)
    ones = np.ones(count, np.float32)
    xy = np.zeros((count, 2), np.float32)
    return Features(xy, rows.astype(np.float32), ones, 12 * ones, np.full(count, angle, np.float32), (64, 48))


def scene(seed: int, count: int = 100) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, 64))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class OnCpu:
    device = "cpu"


@pytest.fixture
def turned_to(monkeypatch):
    """What the photo looks like turned by an angle; anything else it has nothing in common with the set."""
    looks: dict[float, np.ndarray] = {}
    asked = []

    def described_turned(photo, upright, turn, extractor):
        asked.append(turn)
        return features(looks.get(turn, scene(90 + len(asked))), turn)

    monkeypatch.setattr(extract_later, "described_turned", described_turned)
    return looks, asked


@pytest.mark.parametrize("order", [1, -1])
def test_one_photo_of_the_set_that_matches_is_enough(turned_to, order):
    """Most photos of a set show something else; the newcomer is compared with the one that it matches."""
    looks, _ = turned_to
    seen = scene(0)
    looks[math.pi / 2] = seen
    others = [features(seen), features(scene(1)), features(scene(2))][::order]
    found = WayUp(others, OnCpu())(PHOTO, features(scene(3)))
    assert (found.angles == np.float32(math.pi / 2)).all()


def test_who_matches_upright_clearly_is_not_described_again(turned_to):
    _, asked = turned_to
    seen = scene(0)
    upright = features(seen)
    assert WayUp([features(scene(1)), features(seen)], OnCpu())(PHOTO, upright) is upright
    assert asked == []


@pytest.mark.parametrize(("extra", "is_turned"), [(MIN_GAIN, False), (MIN_GAIN + 1, True)])
def test_a_turn_needs_clearly_more_matches(turned_to, extra, is_turned):
    looks, asked = turned_to
    seen = scene(0)
    some = 20
    assert some + MIN_GAIN < CLEAR
    upright = features(np.vstack([seen[:some], scene(5)[some:]]))
    looks[-math.pi / 2] = np.vstack([seen[: some + extra], scene(6)[some + extra :]])
    found = WayUp([features(seen)], OnCpu())(PHOTO, upright)
    assert sorted(asked) == sorted([math.pi / 2, -math.pi / 2, math.pi])
    assert (found is not upright) == is_turned

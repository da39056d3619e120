"""Options out of range, not finite or of no offered choice are refused where a configuration is made."""

from __future__ import annotations

import math

import pytest

from desdis_match.colmap.mappers import MapConfig
from desdis_match.colmap.verification import VerifyConfig
from desdis_match.distill.config import OptimConfig, StudentConfig, TrainConfig
from desdis_match.errors import InputError
from desdis_match.features.extract import ExtractConfig
from desdis_match.matching.match import MatchConfig
from desdis_match.matching.pairs.base import PairsConfig


@pytest.mark.parametrize(
    ("config", "field", "value"),
    [
        (ExtractConfig, "contrast_threshold", math.nan),
        (ExtractConfig, "edge_threshold", math.inf),
        (ExtractConfig, "max_keypoints", 2**40),
        (ExtractConfig, "detector", "harris"),
        (MatchConfig, "ratio", math.nan),
        (MatchConfig, "max_distance", math.inf),
        (PairsConfig, "overlap", 0),
        (VerifyConfig, "max_epipolar_error", 0.0),
        (VerifyConfig, "min_num_inliers", -1),
        (MapConfig, "seed", -1),
        (MapConfig, "seed", 2**31),
        (TrainConfig, "steps", -1),
        (TrainConfig, "batch", 0),
        (OptimConfig, "lr", 0.0),
        (StudentConfig, "width", 10**9),
    ],
)
def test_wrong_values_are_named(config, field: str, value) -> None:
    with pytest.raises(InputError, match=field):
        config(**{field: value})


def test_bounds_belong_to_the_range() -> None:
    assert ExtractConfig(contrast_threshold=0, max_size=0).max_size == 0
    assert TrainConfig(steps=1, batch=2).steps == 1

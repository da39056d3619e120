"""Keyword options by flat names."""

from dataclasses import dataclass, field

import pytest

from desdis_match.errors import InputError
from desdis_match.support.options import configured, option_names


@dataclass(frozen=True)
class Inner:
    pairs: str = "all"
    seed: int = 0


@dataclass(frozen=True)
class Outer:
    pairs: Inner = field(default_factory=Inner)
    size: int = 5


def test_names_reach_the_configurations_inside():
    assert option_names(Outer) == ["pairs", "seed", "size"]
    assert configured(Outer(), {"pairs": "some", "size": 7}, "it") == Outer(Inner("some", 0), 7)
    assert configured(Outer(Inner(seed=3)), {}, "it").pairs.seed == 3


def test_an_unknown_name_lists_all():
    with pytest.raises(InputError, match="it has no option 'sead'; it has pairs, seed, size"):
        configured(Outer(), {"sead": 1}, "it")

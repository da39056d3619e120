"""Ranking: evidence does not depend on how a photo is turned, and heads know better than contrast."""

import cv2
import numpy as np
import pytest
import torch

from desdis_match.distill.matchability import MatchabilityConfig, compare_rankings, examples_of
from desdis_match.distill.warps import texture
from desdis_match.errors import InputError
from desdis_match.features.detectors import DetectorConfig, detect
from desdis_match.features.ranking import EVIDENCE, WEIGHTS, Head, evidence, read_heads, save_heads
from desdis_match.features.scalespace import Extrema, find_extrema


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """(193, 193) float32: of odd sides, so that turning keeps every octave's samples."""
    return (texture(np.random.default_rng(5), 193) / 255).astype(np.float32)


def found(picture: np.ndarray) -> Extrema:
    return find_extrema(torch.from_numpy(np.ascontiguousarray(picture)), "dog", 0, 0.004, 4.0)


@pytest.mark.parametrize("change", ["turn", "mirror"])
def test_evidence_turns_with_the_photo(picture, change):
    """Up to the cells in which neighbours are counted, which lie on the photo's grid."""
    same, other = found(picture), found(np.rot90(picture) if change == "turn" else picture[:, ::-1])
    x, y = other.xy.unbind(1)
    back = torch.stack([192 - y, x], 1) if change == "turn" else torch.stack([192 - x, y], 1)
    distance = torch.cdist(same.xy, back) + (same.sigma[:, None] - other.sigma).abs()
    nearest, rows = distance.min(1)
    assert len(same.xy) > 30 and (nearest < 0.1).float().mean() > 0.85
    here, there = evidence(same), evidence(other)[rows]
    here, there = (np.delete(e[nearest < 0.1].numpy(), -2, axis=1) for e in (here, there))
    assert here.shape[1] == EVIDENCE - 1
    assert np.quantile(np.abs(here - there).max(1), 0.9) < 0.05


def test_crowding_counts_nine_cells():
    xy = torch.tensor([[1.0, 1.0], [17.0, 1.0], [47.9, 1.0], [200.0, 200.0]])
    ones = torch.ones(4)
    counts = evidence(Extrema(xy, ones, ones, torch.ones(4, 43)))[:, -2].exp()
    assert counts.round().tolist() == [2, 3, 2, 1]


def test_no_extrema_give_no_evidence():
    none = torch.zeros(0)
    assert evidence(Extrema(none.view(0, 2), none, none, none.view(0, 43))).shape == (0, EVIDENCE)
    assert len(detect(np.full((64, 64), 0.5, np.float32), DetectorConfig(orientation="upright"))) == 0


def test_extrema_without_surroundings_are_told_so():
    with pytest.raises(InputError, match="without their surroundings"):
        evidence(Extrema(torch.ones(1, 2), torch.ones(1), torch.ones(1)))


@pytest.mark.parametrize("response", ["dog", "hessian"])
def test_the_packaged_heads_know_better_than_contrast(tmp_path, response):
    """On a picture and a warp that they have not seen."""
    from desdis_match.descriptors import load_descriptor

    path = tmp_path / "wall.png"
    cv2.imwrite(str(path), texture(np.random.default_rng(11), 320))
    made = examples_of(
        path, response, MatchabilityConfig(max_size=320), load_descriptor("desdis-8", device="cpu")
    )
    scores = compare_rankings(read_heads(WEIGHTS)[response], made)
    assert scores["AP"] > scores["AP_contrast"] + 0.01


@pytest.mark.parametrize("detector", ["dog", "hessian", "dog+hessian"])
def test_ranking_orders_and_scores_keypoints(picture, detector):
    many = DetectorConfig(detector=detector, orientation="upright")
    few = DetectorConfig(detector=detector, orientation="upright", max_keypoints=20)
    everything, best = detect(picture, many), detect(picture, few)
    assert (everything.scores > 0).all() and (everything.scores < 1).all()
    assert (everything.scores[:-1] >= everything.scores[1:]).all()
    assert torch.equal(everything.lafs[:20], best.lafs)
    plain = detect(picture, DetectorConfig(detector=detector, orientation="upright", ranking="contrast"))
    assert len(plain) == len(everything)
    assert not torch.equal(plain.lafs[:20], best.lafs)


def test_heads_come_back_as_they_went(tmp_path):
    head = Head(8)
    head.mean.fill_(0.5)
    save_heads(tmp_path / "heads.safetensors", {"dog": head}, {"photos": 1})
    again = read_heads(tmp_path / "heads.safetensors")["dog"]
    seen = torch.rand(5, EVIDENCE)
    assert torch.equal(again(seen), head(seen))
    with pytest.raises(InputError, match="holds no heads"):
        read_heads(tmp_path / "none.safetensors")

"""Examples of matchability from photos, and a head that learns from them."""

import cv2
import numpy as np
import torch

from desdis_match.distill.matchability import (
    Examples,
    MatchabilityConfig,
    compare_rankings,
    train_head,
    warped,
)
from desdis_match.distill.warps import texture
from desdis_match.features.ranking import EVIDENCE


def test_the_homography_leads_to_the_warped_view():
    picture = (texture(np.random.default_rng(0), 300) / 255).astype(np.float32)
    for seed in range(3):
        view, homography = warped(picture, np.random.default_rng(seed))
        back = cv2.warpPerspective(view, np.linalg.inv(homography), (300, 300), borderValue=-1.0)
        shown = back >= 0
        assert shown.mean() > 0.3
        right = np.corrcoef(back[shown], picture[shown])[0, 1]
        shifted = np.corrcoef(back[shown], np.roll(picture, (8, 8), (0, 1))[shown])[0, 1]
        assert right > 0.8 and right > shifted + 0.1


def test_a_head_learns_what_contrast_does_not_say():
    torch.manual_seed(0)
    seen = torch.randn(4000, EVIDENCE)
    matched = seen[:, 3] + 0.3 * torch.randn(4000) > 0
    made = [
        Examples(part, rows, torch.rand(2000))
        for part, rows in zip(seen.split(2000), matched.split(2000), strict=True)
    ]
    head = train_head(made[:1], MatchabilityConfig(epochs=30, batch=256))
    scores = compare_rankings(head, made[1:])
    assert scores["AP"] > 0.9 and 0.4 < scores["AP_contrast"] < 0.6
    assert abs(scores["bias"]) < 0.05

"""Our RootSIFT against Kornia's, which is the reference for its numbers."""

import pytest
import torch
from kornia.feature import SIFTDescriptor

from desdis_match.descriptors import load_descriptor
from desdis_match.descriptors.rootsift import BLOCK, RootSIFT


def smooth(num: int) -> torch.Tensor:
    coarse = torch.rand(num, 1, 7, 7, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.interpolate(coarse, (32, 32), mode="bicubic", align_corners=True).clamp(0, 1)


def edges() -> torch.Tensor:
    """Straight edges in all 16 directions, half of them exactly between two angle bins, and flat halves."""
    axis = torch.arange(32.0) - 15.5
    angles = torch.arange(16) * torch.pi / 8
    along = angles.cos()[:, None, None] * axis + angles.sin()[:, None, None] * axis[:, None]
    return (along > 0).float()[:, None]


@pytest.mark.parametrize(
    "patches",
    [smooth(BLOCK + 3), torch.rand(5, 1, 32, 32), 1e-3 * smooth(4) + 0.5, torch.full((2, 1, 32, 32), 0.3)],
    ids=["smooth", "noise", "faint", "flat"],
)
def test_equals_kornia(patches: torch.Tensor):
    reference = SIFTDescriptor(32, rootsift=True).eval()
    with torch.no_grad():
        assert (RootSIFT()(patches) - reference(patches)).abs().max() < 1e-5


def test_equals_kornia_where_gradients_lie_on_the_border_of_bins():
    # Squared, because Kornia's rounding there leaves 1e-7 in a bin that is empty, and the root makes it 7e-4.
    reference = SIFTDescriptor(32, rootsift=True).eval()
    with torch.no_grad():
        assert (RootSIFT()(edges()) ** 2 - reference(edges()) ** 2).abs().max() < 1e-5


def test_by_name_it_gives_unit_vectors_for_any_number_of_patches():
    describe = load_descriptor("rootsift")
    rows = describe(smooth(5))
    assert rows.shape == (5, 128)
    assert torch.allclose(rows.norm(dim=1), torch.ones(5), atol=1e-5)
    assert describe(smooth(1)).shape == (1, 128)
    assert describe(smooth(1)[:0]).shape == (0, 128)

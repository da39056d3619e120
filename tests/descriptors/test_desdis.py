"""The student networks against the authors' published weights and outputs."""

from pathlib import Path

import numpy as np
import pytest
import torch

from desdis_match.descriptors import DesDis, load_authors_checkpoint, load_network
from desdis_match.descriptors.desdis import DesDisFast

WIDTHS = (8, 16, 24, 32)


@pytest.mark.parametrize("width", WIDTHS)
def test_authors_checkpoints_give_the_authors_outputs(shared_data: Path, width: int):
    folder = shared_data / "weights" / "desdis"
    reference = np.load(folder / "reference.npz")
    patches = torch.from_numpy(reference["patches"]).float()[:, None] / 255
    network = load_authors_checkpoint(folder / f"DesDis-{width}.pth")
    assert (network.width, network.dim) == (width, 128)
    with torch.no_grad():
        found = network(patches).numpy()
        alone = torch.cat([network(patch[None]) for patch in patches[:4]]).numpy()
    assert np.abs(found - reference[f"desdis{width}"]).max() < 1e-5
    assert np.abs(alone - reference[f"desdis{width}"][:4]).max() < 1e-5


def test_a_checkpoint_with_a_strange_weight_is_refused(shared_data: Path, tmp_path: Path):
    published = shared_data / "weights" / "desdis" / "DesDis-8.pth"
    state = torch.load(published, map_location="cpu", weights_only=True)
    torch.save({**state, "desc.1.scale": torch.ones(1)}, tmp_path / "strange.pth")
    with pytest.raises(RuntimeError, match=r"desc\.1\.scale"):
        load_authors_checkpoint(tmp_path / "strange.pth")


def test_number_of_weights_is_that_of_the_paper_s_layers():
    # 9 (1*32) + 9 (32*64) + 9 (64*128) + 9 (128*128) + 16 (128*128) + 128, and no affine norm
    assert sum(weight.numel() for weight in DesDis(32).parameters()) == 502176
    # 64 (1*16) + 9 (16*64) + 9 (64*64) + 16 (64*128) + 128
    assert sum(weight.numel() for weight in DesDisFast(16).parameters()) == 178304


@pytest.mark.parametrize("kind", [DesDis, DesDisFast])
@pytest.mark.parametrize(("width", "dim"), [(8, 128), (16, 32)])
def test_a_bare_checkpoint_says_which_layout_it_is(kind: type[DesDis], width: int, dim: int, tmp_path: Path):
    network = kind(width, dim).eval()
    torch.save(network.state_dict(), tmp_path / "w.pth")
    found = load_network(tmp_path / "w.pth")
    assert (type(found), found.width, found.dim) == (kind, width, dim)
    patches = torch.rand(3, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(found(patches), network(patches))


@pytest.mark.parametrize("dim", [128, 64, 32])
@pytest.mark.parametrize("width", [5, *WIDTHS])
@pytest.mark.parametrize("kind", [DesDis, DesDisFast])
def test_any_width_and_size_gives_unit_vectors_also_for_one_patch_and_none(
    kind: type[DesDis], width: int, dim: int
):
    network = kind(width, dim).eval()
    patches = torch.rand(3, 1, 32, 32)
    with torch.no_grad():
        rows = network(patches)
        assert rows.shape == (3, dim)
        assert torch.allclose(rows.norm(dim=1), torch.ones(3), atol=1e-6)
        assert network(patches[:1]).shape == (1, dim)
        assert network(patches[:0]).shape == (0, dim)


def test_gain_and_offset_of_a_patch_do_not_matter():
    network = DesDis(8).eval()
    patches = torch.rand(4, 1, 32, 32)
    with torch.no_grad():
        # not exactly: InstanceNorm adds 1e-5 to the variance, here 0.08 and 0.02
        assert torch.allclose(network(patches), network(0.5 * patches + 0.25), atol=1e-3)


def test_the_network_trains():
    network = DesDis(8).train()
    network(torch.rand(4, 1, 32, 32))[:, 0].sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in network.parameters())

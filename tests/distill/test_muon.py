"""The optimizer Muon: steps are orthogonal, of the asked-for angle, and lead downhill."""

import math

import pytest
import torch
from torch import nn

from desdis_match.distill.muon import VECTOR_SHARE, Muon, orthogonalized


@pytest.mark.parametrize("shape", [(8, 72), (72, 8), (16, 16)])
def test_a_matrix_of_any_shape_keeps_its_singular_vectors_and_loses_its_singular_values(shape):
    generator = torch.Generator().manual_seed(1)
    u, _, vt = torch.linalg.svd(torch.randn(shape, generator=generator), full_matrices=False)
    values = torch.logspace(0, -1.5, len(vt))
    values_after = (u.T @ orthogonalized(u @ torch.diag(values) @ vt) @ vt.T).diagonal()
    assert values_after.min() > 0.6 and values_after.max() < 1.25
    off = u.T @ orthogonalized(u @ torch.diag(values) @ vt) @ vt.T - torch.diag(values_after)
    assert off.abs().max() < 1e-4


def test_a_step_turns_a_kernel_by_the_learning_rate_and_keeps_its_length():
    torch.manual_seed(2)
    conv = nn.Conv2d(4, 8, 3, bias=False)
    before = conv.weight.detach().clone()
    # perpendicular to the weights, as the gradient of a loss is that does not see their length
    gradient = torch.randn_like(before)
    gradient -= before * (gradient * before).sum() / before.square().sum()
    conv.weight.grad = gradient
    Muon(conv.parameters(), lr=0.02).step()
    after = conv.weight.detach()
    assert after.norm().item() == pytest.approx(before.norm().item(), rel=1e-5)
    step = (after - before).norm() / before.norm()
    assert step.item() == pytest.approx(0.02, rel=0.02)
    turn = -(after - before).flatten(1)
    values = torch.linalg.svdvals(turn)
    assert values.max() / values.min() < 2.5  # the gradient's own are further apart
    assert (turn * gradient.flatten(1)).sum() > 0


def test_zero_gradients_and_zero_weights_stay_finite():
    conv = nn.Conv2d(2, 3, 3)
    optimizer = Muon(conv.parameters(), lr=0.1)
    nn.init.zeros_(conv.weight)
    for parameter in conv.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert all(torch.isfinite(parameter).all() for parameter in conv.parameters())


def test_vectors_take_adams_step():
    vector, theirs = (nn.Parameter(torch.zeros(5)) for _ in range(2))
    ours = Muon([vector], lr=0.1)
    adam = torch.optim.Adam([theirs], lr=0.1 * VECTOR_SHARE)
    generator = torch.Generator().manual_seed(3)
    for _ in range(4):
        vector.grad = torch.randn(5, generator=generator)
        theirs.grad = vector.grad.clone()
        ours.step()
        adam.step()
    assert torch.allclose(vector, theirs, atol=1e-7)


def test_a_stretched_valley_is_descended_where_gradient_descent_is_slow():
    """Least squares whose directions differ by 1000 in curvature: all of them are learned at once."""
    generator = torch.Generator().manual_seed(4)
    inputs = torch.randn(400, 12, generator=generator) * torch.logspace(0, -1.5, 12)
    wanted = torch.randn(6, 12, generator=generator)
    wanted *= math.sqrt(6) / wanted.norm()

    def left(make) -> float:
        layer = nn.Linear(12, 6, bias=False)
        with torch.no_grad():
            layer.weight.copy_(torch.randn(6, 12, generator=torch.Generator().manual_seed(5)))
            layer.weight.mul_(math.sqrt(6) / layer.weight.norm())
        optimizer = make(layer.parameters())
        for step in range(300):
            for group in optimizer.param_groups:
                group["lr"] = group["initial"] * (1 - step / 300)
            optimizer.zero_grad()
            (layer(inputs) - inputs @ wanted.T).square().mean().backward()
            optimizer.step()
        return float((layer.weight.detach() - wanted).norm() / wanted.norm())

    def muon(parameters):
        optimizer = Muon(parameters, lr=0.05)
        optimizer.param_groups[0]["initial"] = 0.05
        return optimizer

    def descent(parameters):
        optimizer = torch.optim.SGD(parameters, lr=1.0, momentum=0.9)
        optimizer.param_groups[0]["initial"] = 1.0
        return optimizer

    assert left(muon) < 0.05
    assert left(descent) > 3 * left(muon)

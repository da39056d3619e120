"""The optimizer Muon: momentum whose matrices are made orthogonal, so that all directions of a layer learn.

Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024. torch.optim.Muon takes
matrices alone; here a convolution's kernel is one, a row for each output channel, and a step is relative to
the length of the weights, since BatchNorm makes the loss blind to that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the odd polynomial that drives singular values towards 1: fast, to within 0.7 and 1.2."""
ITERATIONS = 5
VECTOR_SHARE = 0.1
"""Biases and the like, which are no matrices, take Adam's step with this share of the learning rate."""
BETAS, EPS = (0.9, 0.999), 1e-8
"""Adam's."""


def orthogonalized(matrix: Tensor) -> Tensor:
    """(M, N) -> about U V^T of the singular value decomposition U S V^T, by Newton-Schulz iterations."""
    a, b, c = COEFFICIENTS
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = wide / wide.norm().clamp_min(1e-12)
    for _ in range(ITERATIONS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    result: Tensor = x.T if matrix.shape[0] > matrix.shape[1] else x
    return result


class Muon(torch.optim.Optimizer):
    """Each kernel turns by the learning rate (0.05: about three degrees) a step and keeps its length."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.9) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update from the gradients that are there."""
        loss = closure() if closure else None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if parameter.ndim < 2:
                    self._vector_step(parameter, group["lr"] * VECTOR_SHARE)
                else:
                    self._matrix_step(parameter, group["lr"], group["momentum"])
        return loss

    def _matrix_step(self, weight: Tensor, lr: float, momentum: float) -> None:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        average = state["momentum"].mul_(momentum).add_(weight.grad)
        ahead = weight.grad.add(average, alpha=momentum)  # type: ignore[union-attr]  # Nesterov's
        turn = orthogonalized(ahead.flatten(1)).view_as(weight)
        length = weight.norm()
        weight.sub_(turn * (lr * length / turn.norm().clamp_min(1e-12)))
        weight.mul_(length / weight.norm().clamp_min(1e-12))

    def _vector_step(self, vector: Tensor, lr: float) -> None:
        state = self.state[vector]
        if not state:
            state.update(step=0, first=torch.zeros_like(vector), second=torch.zeros_like(vector))
        state["step"] += 1
        first = state["first"].lerp_(vector.grad, 1 - BETAS[0])
        second = state["second"].lerp_(vector.grad.square(), 1 - BETAS[1])  # type: ignore[union-attr]
        first, second = (
            mean / (1 - beta ** state["step"]) for mean, beta in zip((first, second), BETAS, strict=True)
        )
        vector.sub_(lr * first / (second.sqrt() + EPS))

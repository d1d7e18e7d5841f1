"""Muon for groups of equally shaped matrices, orthogonalised together in one batch."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def orthogonalise(g: Tensor, steps: int = 5) -> Tensor:
    """Newton-Schulz iteration towards the nearest semi-orthogonal matrices of a batch."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = g.shape[-2] > g.shape[-1]
    x = g.bfloat16() if g.is_cuda else g.float()
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        s = x @ x.mT
        x = a * x + (b * s + c * (s @ s)) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Each parameter group must hold matrices of one shape. The learning rate is scaled so that
    an update has about the root mean square of an AdamW update."""

    def __init__(self, groups, lr: float, momentum: float = 0.95, weight_decay: float = 0.1):
        super().__init__(groups, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            params = group["params"]
            grads = torch.stack([p.grad for p in params])
            state = self.state[params[0]]
            if "buffer" not in state:
                state["buffer"] = torch.zeros_like(grads)
            buffer = state["buffer"]
            buffer.lerp_(grads, 1 - group["momentum"])
            update = orthogonalise(grads.lerp(buffer, group["momentum"])).float()
            rows, columns = params[0].shape
            lr = group["lr"]
            scale = lr * 0.2 * math.sqrt(max(rows, columns))
            if group["weight_decay"]:
                torch._foreach_mul_(params, 1 - lr * group["weight_decay"])
            torch._foreach_add_(params, list(update.unbind()), alpha=-scale)

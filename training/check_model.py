"""Checks the chunked form against the recurrence, values and gradients, on the CPU."""

import torch

from model import Config, Mamba2, ssd_chunked, ssd_recurrence


def main() -> None:
    torch.manual_seed(0)
    for groups, chunk in ((1, 64), (2, 32), (1, 128)):
        x = torch.randn(2, 256, 4, 16, requires_grad=True)
        dt = torch.rand(2, 256, 4, requires_grad=True)
        a = -torch.rand(2, 256, 4) * 2
        a[:, 100] -= 80
        a.requires_grad_()
        b = torch.randn(2, 256, groups, 24, requires_grad=True)
        c = torch.randn(2, 256, groups, 24, requires_grad=True)
        inputs = (x, dt, a, b, c)
        slow = ssd_recurrence(*inputs)
        fast = ssd_chunked(*inputs, chunk)
        weight = torch.randn_like(slow)
        g1 = torch.autograd.grad((slow * weight).sum(), inputs)
        g2 = torch.autograd.grad((fast * weight).sum(), inputs)
        grad = max(((p - q).abs().max() / p.abs().max()).item() for p, q in zip(g1, g2))
        print(f"groups {groups} chunk {chunk}: values {(slow - fast).abs().max():.2e}, gradients {grad:.2e} (relative)")
        assert (slow - fast).abs().max() < 1e-3 and grad < 1e-4

    cfg = Config(hidden_size=64, num_hidden_layers=2, head_dim=16, state_size=32, vocab_size=256, chunk=64)
    model = Mamba2(cfg)
    ids = torch.randint(1, 256, (2, 192))
    whole = model(ids)
    assert (model(ids[:, :100]) - whole[:, :100]).abs().max() < 1e-4, "not causal"
    zero = torch.zeros(2, 1, dtype=torch.long)
    joined = torch.cat([zero, ids[:, :127], zero, ids[:, :63]], 1)
    h = model.hidden(joined, torch.float32, True)
    # After a reset only the convolution still sees the document before.
    print(f"reset: later tokens differ by {(h[:, 140:] - h[:, 12:64]).abs().max():.2e}")
    loss = model.loss(ids[:, :-64], ids[:, 1:-63], torch.float32)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    print(f"default parameters: {sum(p.numel() for p in Mamba2(Config()).parameters())}")


if __name__ == "__main__":
    main()

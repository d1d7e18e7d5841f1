"""Trains the model for a given time, then evaluates and exports it.

    python train.py DATA WORK OUT [--seconds 480] [--dry-run N] [sizes and rates]

needs WORK from tokenizer.py and DATA/heldout.txt (or .xz). The learning rate follows the clock,
so that the decay is complete when the time is up. --dry-run N times N steps and stops.
"""

from __future__ import annotations

import time

START = time.time()

import argparse
import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from evaluate import evaluate, load_heldout, report
from export import export
from model import Config, Mamba2
from muon import Muon


def arguments() -> argparse.Namespace:
    p = argparse.ArgumentParser()
    p.add_argument("data", type=Path)
    p.add_argument("work", type=Path)
    p.add_argument("out", type=Path)
    p.add_argument("--seconds", type=float, default=480, help="from the start of this process to the last step")
    p.add_argument("--dry-run", type=int, default=0, metavar="N")
    p.add_argument("--name", default="dts")
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--length", type=int, default=2048)
    p.add_argument("--lr", type=float, default=3e-3, help="AdamW")
    p.add_argument("--muon-lr", type=float, default=5e-3, help="0: AdamW for every parameter")
    p.add_argument("--weight-decay", type=float, default=0.1)
    p.add_argument("--warmup", type=float, default=0.02)
    p.add_argument("--decay", type=float, default=0.6, help="share of the time for the final linear decay")
    p.add_argument("--clip", type=float, default=1.0)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--no-compile", action="store_true")
    p.add_argument("--no-reset", action="store_true", help="carry the state over document ends in a sequence")
    p.add_argument("--no-cuda-graph", action="store_true", help="launch every step instead of replaying one CUDA graph")
    for f in fields(Config):
        p.add_argument("--" + f.name.replace("_", "-"), type=type(f.default), default=f.default)
    return p.parse_args()


class Windows:
    """Windows of the token stream: every epoch a new offset and a new order."""

    def __init__(self, path: Path, batch: int, length: int, device: torch.device):
        self.tokens = torch.from_numpy(np.load(path).astype(np.int32)).to(device)
        self.batch, self.device = batch, device
        self.length = min(length, (len(self.tokens) - 1) // (batch + 1))
        self.span = torch.arange(self.length + 1, device=device)
        self.starts = torch.empty(0, dtype=torch.long, device=device)
        self.epochs = 0

    def next(self) -> tuple[torch.Tensor, torch.Tensor]:
        if len(self.starts) < self.batch:
            offset = int(torch.randint(self.length, ()))
            count = (len(self.tokens) - 1 - offset) // self.length
            self.starts = torch.randperm(count, device=self.device) * self.length + offset
            self.epochs += 1
        chosen, self.starts = self.starts[: self.batch], self.starts[self.batch :]
        window = self.tokens[chosen[:, None] + self.span]
        return window[:, :-1].contiguous(), window[:, 1:].long()


def optimizers(model: Mamba2, args: argparse.Namespace, cuda: bool) -> list[torch.optim.Optimizer]:
    mixers = [layer.mixer for layer in model.backbone.layers]
    matrices = [[m.in_proj.weight for m in mixers], [m.out_proj.weight for m in mixers]]
    muon = {id(p) for group in matrices for p in group}
    rest = [p for p in model.parameters() if id(p) not in muon]
    out: list[torch.optim.Optimizer] = []
    groups = [{"params": rest, "weight_decay": 0.0}]
    if args.muon_lr > 0:
        out.append(Muon([{"params": g} for g in matrices], args.muon_lr, weight_decay=args.weight_decay))
    else:
        groups.append({"params": sum(matrices, []), "weight_decay": args.weight_decay})
    out.append(torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.95), eps=1e-10, **({"fused": True} if cuda else {})))
    for optimizer in out:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return out


def rate(progress: float, warmup: float, decay: float) -> float:
    if progress < warmup:
        return 0.02 + 0.98 * progress / warmup
    return min(1.0, max(0.0, (1 - progress) / decay))


def gradient_step(model, windows: Windows, args, dtype, cuda: bool):
    """A function that computes the clipped gradient of the next batch and returns its loss."""

    def compute(ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        loss = model.loss(ids, targets, dtype, not args.no_reset)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), args.clip)
        return loss.detach()

    def eager() -> torch.Tensor:
        for p in model.parameters():
            p.grad = None
        return compute(*windows.next())

    if args.no_cuda_graph or not cuda:
        return eager
    ids, targets = windows.next()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            model.zero_grad(set_to_none=True)
            compute(ids, targets)
    torch.cuda.current_stream().wait_stream(side)
    model.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = compute(ids, targets)

    def replay() -> torch.Tensor:
        new_ids, new_targets = windows.next()
        ids.copy_(new_ids)
        targets.copy_(new_targets)
        graph.replay()
        return loss

    return replay


def train(model: Mamba2, args: argparse.Namespace, device: torch.device) -> dict:
    cuda = device.type == "cuda"
    dtype = torch.bfloat16 if cuda else torch.float32
    windows = Windows(args.work / "train.npy", args.batch, args.length, device)
    print(f"{len(windows.tokens) / 1e6:.2f} M tokens, windows of {windows.length}", flush=True)
    opts = optimizers(model, args, cuda)
    step_gradient = gradient_step(model, windows, args, dtype, cuda)
    step_gradient()
    if cuda:
        torch.cuda.synchronize()
    per_step = args.batch * windows.length
    begin = last = time.time()
    print(f"first gradient after {begin - START:.1f} s", flush=True)
    budget = args.seconds - (begin - START)
    step = last_step = 0
    progress = 0.0
    while progress < 1:
        if args.dry_run and step >= args.dry_run:
            break
        factor = rate(progress, args.warmup, args.decay)
        for optimizer in opts:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * factor
        loss = step_gradient()
        for optimizer in opts:
            optimizer.step()
        step += 1
        if step % 8 == 0 and cuda:
            torch.cuda.synchronize()
        now = time.time()
        progress = (now - begin) / budget
        if now - last >= (2 if args.dry_run else 10):
            value = loss.item()
            now = time.time()
            speed = (step - last_step) * per_step / (now - last)
            print(
                f"[{now - START:6.1f} s] step {step}, {step * per_step / 1e6:.1f} M tokens, epoch {windows.epochs}, "
                f"{speed / 1e3:.0f} k tok/s, loss {value:.4f}, rate {factor:.3f}",
                flush=True,
            )
            last, last_step = now, step
    if cuda:
        torch.cuda.synchronize()
    spent = time.time() - begin
    tokens = step * per_step
    print(f"{step} steps, {tokens / 1e6:.1f} M tokens in {spent:.1f} s, {tokens / spent / 1e3:.0f} k tok/s")
    if cuda:
        print(f"peak memory {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB", flush=True)
    return {"steps": step, "tokens": tokens, "epochs": windows.epochs, "seconds": spent, "final_loss": loss.item()}


def main() -> None:
    args = arguments()
    torch.manual_seed(args.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_float32_matmul_precision("highest")
    cfg = Config(**{f.name: getattr(args, f.name) for f in fields(Config)})
    model = Mamba2(cfg).to(device)
    count = sum(p.numel() for p in model.parameters())
    print(f"{count} parameters, {2 * count} bytes in bfloat16; {cfg}", flush=True)
    if not args.no_compile:
        model.compile_parts()
    summary = train(model, args, device)
    if args.dry_run:
        return

    args.out.mkdir(parents=True, exist_ok=True)
    # Kept until the export has worked: the weights cost more than all that follows.
    torch.save(model.state_dict(), args.work / "weights.pt")
    clean = Mamba2(cfg).to(device)
    clean.load_state_dict(model.state_dict())
    tok = Tokenizer.from_file(str(args.work / "tokenizer" / "tokenizer.json"))
    documents = load_heldout(args.data, tok)
    float32 = evaluate(clean, documents, device)
    report("float32 weights ", float32)
    with torch.no_grad():
        for p in clean.parameters():
            p.copy_(p.bfloat16().float())
    rounded = evaluate(clean, documents, device)
    report("bfloat16 weights", rounded)
    for package, value in rounded["packages"].items():
        print(f"  {value:.4f}  {package}")
    settings = {k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items()}
    settings = {k: v for k, v in settings.items() if k not in ("data", "work", "out")}
    metrics = {"parameters": count, "settings": settings, "training": summary, "float32": float32, "bfloat16": rounded}
    (args.out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    print(f"[{time.time() - START:6.1f} s] evaluated", flush=True)
    export(clean.cpu(), args.work / "tokenizer", args.out / args.name, args.name)
    print(f"[{time.time() - START:6.1f} s] exported", flush=True)


if __name__ == "__main__":
    main()

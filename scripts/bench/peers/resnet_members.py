"""Member-steps a second of several ResNet-18 in PyTorch: one after the other, and by vmap.

python resnet_members.py --width 8 --members 8

3 x 32 x 32 images, batch 32, GroupNorm(8), cross-entropy, SGD with momentum 0.9. Prints a result line for
each way, as `widthwise bench --json` does. The losses of the first step of every way must agree.
"""

import argparse
import json
import resource
import time

import torch
from torch import nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap
from torch.nn import functional as F


class Block(nn.Module):
    def __init__(self, channels, outputs, stride, groups=8):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.GroupNorm(groups, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.GroupNorm(groups, outputs)
        self.shortcut = None
        if stride != 1 or channels != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, outputs, 1, stride, bias=False), nn.GroupNorm(groups, outputs))

    def forward(self, x):
        h = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(h + (x if self.shortcut is None else self.shortcut(x)))


class ResNet18(nn.Module):
    def __init__(self, width, outputs=10):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.GroupNorm(8, width)
        blocks, channels = [], width
        for stage in range(4):
            size = width << stage
            blocks += [Block(channels, size, 1 if stage == 0 else 2), Block(size, size, 1)]
            channels = size
        self.blocks, self.readout = nn.Sequential(*blocks), nn.Linear(channels, outputs)

    def forward(self, x):
        return self.readout(self.blocks(F.relu(self.norm(self.stem(x)))).mean((2, 3)))


def loop(members, xs, ys, channels_last):
    if channels_last:
        members = [m.to(memory_format=torch.channels_last) for m in members]
        xs = [x.contiguous(memory_format=torch.channels_last) for x in xs]
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.01, momentum=0.9, fused=True) for m in members]

    def step(i):
        losses = []
        for m, optimizer in zip(members, optimizers):
            optimizer.zero_grad(set_to_none=True)
            loss = F.cross_entropy(m(xs[i % len(xs)]), ys[i % len(ys)])
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return torch.stack(losses)

    return step


def mapped(members, xs, ys):
    base = members[0]
    params = {n: p.detach() for n, p in stack_module_state(members)[0].items()}
    momentum = {n: torch.zeros_like(p) for n, p in params.items()}
    gradients = vmap(grad_and_value(lambda p, x, y: F.cross_entropy(functional_call(base, p, (x,)), y)), in_dims=(0, None, None))

    def step(i):
        grads, losses = gradients(params, xs[i % len(xs)], ys[i % len(ys)])
        for n in params:
            momentum[n].mul_(0.9).add_(grads[n])
            params[n].sub_(momentum[n], alpha=0.01)
        return losses

    return step


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    xs = [torch.randn(32, 3, 32, 32) for _ in range(8)]
    ys = [torch.randint(0, 10, (32,)) for _ in range(8)]

    def fresh():
        torch.manual_seed(1)
        return [ResNet18(args.width) for _ in range(args.members)]

    ways = {
        "loop": lambda: loop(fresh(), xs, ys, False),
        "loop_cl": lambda: loop(fresh(), xs, ys, True),
        "vmap": lambda: mapped(fresh(), xs, ys),
    }
    expected = None
    for name, way in ways.items():
        step = way()
        first = step(0)
        expected = first if expected is None else expected
        torch.testing.assert_close(first, expected, rtol=1e-3, atol=1e-3)
        rates = chunks(step, args.seconds)
        rate = lambda share: args.members * rates[int(share * (len(rates) - 1))]
        print(json.dumps({
            "peer": "torch", "work": "W3", "group": "W3-members", "variant": name, "metric": "member_steps_per_s",
            "median": rate(0.5), "lo": rate(0), "hi": rate(1), "n": len(rates),
            "maxrss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            "width": args.width, "members": args.members, "threads": args.threads,
        }), flush=True)


def chunks(step, seconds, warmup=1.0, chunk=0.25):
    """Steps a second over stretches of at least `chunk` seconds, slowest first."""
    start, i = time.perf_counter(), 0
    while time.perf_counter() - start < warmup or i < 3:
        step(i)
        i += 1
    rates, start = [], time.perf_counter()
    while time.perf_counter() - start < seconds or len(rates) < 3:
        begin, steps = time.perf_counter(), 0
        while time.perf_counter() - begin < chunk:
            step(i)
            i, steps = i + 1, steps + 1
        rates.append(steps / (time.perf_counter() - begin))
    return sorted(rates)


if __name__ == "__main__":
    main()

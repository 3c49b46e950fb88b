"""Agreement of all pairs of members of two ensembles in PyTorch: pair by pair, and all pairs at once.

python agreement.py --members 8 --points 2000

Logits [members, points, 10]; for every pair the nine measures of metrics::agreement, in f32 and in f64. Prints a
result line for each way, as `widthwise bench --json` does. All ways must agree.
"""

import argparse
import json
import resource

import torch

from resnet_members import chunks


def stats(x):
    """What a set of logits needs: itself, centred, log-probabilities, predictions."""
    return x, x - x.mean(-1, keepdim=True), x.log_softmax(-1), x.argmax(-1)


def correlation(x, y, dims):
    x, y = x - x.mean(dims, keepdim=True), y - y.mean(dims, keepdim=True)
    return (x * y).sum(dims) / ((x * x).sum(dims) * (y * y).sum(dims)).sqrt()


def measures(a, b):
    """Of sets of logits that broadcast against each other, over the last two axes."""
    (x, xc, lx, px), (y, yc, ly, py) = a, b
    dims = (-2, -1)
    found = []
    for f, r in [(x, y), (xc, yc)]:
        d = ((f - r) ** 2).sum(dims)
        found += [d / (x.shape[-1] * x.shape[-2]), d / (r * r).sum(dims), correlation(f, r, dims)]
    found.append((px == py).to(x.dtype).mean(-1))
    found.append((lx.exp() - ly.exp()).abs().sum(-1).mean(-1) / 2)
    found.append((ly.exp() * (ly - lx)).sum(-1).mean(-1))
    return torch.stack(torch.broadcast_tensors(*found))


def loop(a, b):
    def run(_):
        rows, columns = [stats(x) for x in a], [stats(y) for y in b]
        return torch.stack([torch.stack([measures(x, y) for y in columns], 1) for x in rows], 1)

    return run


def at_once(a, b):
    def run(_):
        rows = tuple(t[:, None] for t in stats(a))
        columns = tuple(t[None] for t in stats(b))
        return measures(rows, columns)

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--points", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    a = torch.randn(args.members, args.points, 10, dtype=torch.float64)
    b = a + 0.5 * torch.randn_like(a)
    ways = {}
    for name, dtype in [("f32", torch.float32), ("f64", torch.float64)]:
        x, y = a.to(dtype), b.to(dtype)
        ways |= {f"loop_{name}": loop(x, y), f"at_once_{name}": at_once(x, y)}
        if dtype == torch.float32:
            ways["compile_f32"] = torch.compile(at_once(x, y))
    expected = None
    for name, way in ways.items():
        first = way(0)
        expected = first if expected is None else expected
        torch.testing.assert_close(first.double(), expected.double(), rtol=1e-3, atol=1e-3)
        times = sorted(1 / rate for rate in chunks(way, args.seconds))
        print(json.dumps({
            "peer": "torch", "work": "W7", "group": "W7", "variant": name, "metric": "s",
            "median": times[len(times) // 2], "lo": times[0], "hi": times[-1], "n": len(times),
            "maxrss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            "members": args.members, "points": args.points, "threads": args.threads,
        }), flush=True)


if __name__ == "__main__":
    main()

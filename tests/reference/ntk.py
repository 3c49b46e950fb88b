"""Empirical neural tangent kernels from PyTorch's Jacobians (torch.func), one block per parameter.

python ntk.py --seed 5 --out ntk

Kernels are traced over outputs: K[i, j] = sum over o of <df_o(x_i)/dp, df_o(x_j)/dp>, for every parameter
p; their sum is the kernel of the network.
"""

import argparse

import numpy as np
import torch
from torch import nn
from torch.func import functional_call, jacrev, vmap

from common import array, repeatable, save, versions

IMAGE = (2, 7, 6)


def convolutions(*last):
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, 1, 1), nn.ReLU(),
        nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 0), groups=2), nn.GroupNorm(3, 6), nn.ReLU(),
        nn.Conv2d(6, 4, 3, 2, 1, bias=False), nn.ReLU(), *last)


NETWORKS = {
    "mlp": ((5,), lambda: nn.Sequential(
        nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 3))),
    "cnn": (IMAGE, lambda: convolutions(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))),
    "cnn_flat": (IMAGE, lambda: convolutions(nn.Flatten(), nn.Linear(24, 3))),
    # rows of an input [positions, features], each through the same weights
    "rows": ((4, 3), lambda: nn.Sequential(
        nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--points", type=int, default=5)
    parser.add_argument("--out", default="ntk")
    args = parser.parse_args()
    rng = repeatable(args.seed)
    tensors, networks = {}, {}
    for name, (shape, make) in NETWORKS.items():
        net = make()
        params = {n: torch.from_numpy(rng.standard_normal(tuple(p.shape)) * 0.7 / np.sqrt(max(1, np.prod(p.shape[1:]))))
                  for n, p in net.named_parameters()}
        x = torch.from_numpy(rng.standard_normal((args.points, *shape)))
        f = lambda p, x: functional_call(net, p, (x.unsqueeze(0),)).squeeze(0)
        jacobians = vmap(jacrev(f), (None, 0))(params, x)
        total = 0
        tensors[f"{name}.x"] = array(x)
        for n, j in jacobians.items():
            j = j.flatten(2)
            kernel = torch.einsum("iop,jop->ij", j, j)
            total = total + kernel
            tensors[f"{name}.{n}"] = array(params[n])
            tensors[f"{name}.kernel.{n}"] = array(kernel)
        tensors[f"{name}.kernel"] = array(total)
        networks[name] = {"parameters": list(params)}
    document = {
        "source": "torch.func.jacrev",
        "versions": versions(torch),
        "settings": {"seed": args.seed, "points": args.points},
        "networks": networks,
    }
    save(args.out, document, tensors)


if __name__ == "__main__":
    main()

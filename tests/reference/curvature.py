"""Eigenvalues of Hessians and Gauss–Newton matrices, and gradient noise, from PyTorch's autograd (torch.func).

python curvature.py --seed 9 --out curvature

Matrices are formed whole and given to numpy's eigvalsh: of the parameters as they are, and between the roots of
a learning rate for each parameter (`rates`) or for each number (`PARAM.preconditioner`).
"""

import argparse

import numpy as np
import torch
from torch import nn
from torch.func import functional_call, grad, hessian, jacrev, vmap
from torch.nn import functional as F

from common import array, labels, repeatable, save, versions

CLASSES = 3

NETWORKS = {
    "mlp": ((5,), lambda: nn.Sequential(
        nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 6), nn.Tanh(), nn.Linear(6, CLASSES))),
    "cnn": ((2, 5, 4), lambda: nn.Sequential(
        nn.Conv2d(2, 4, 3, 1, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, 2, 1), nn.GroupNorm(2, 4), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES))),
}


def top(matrix, count=6):
    return np.linalg.eigvalsh(matrix)[::-1][:count].tolist()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=9)
    parser.add_argument("--points", type=int, default=12)
    parser.add_argument("--out", default="curvature")
    args = parser.parse_args()
    rng = repeatable(args.seed)
    tensors, networks = {}, {}
    for name, (shape, make) in NETWORKS.items():
        net = make()
        params = {n: torch.from_numpy(rng.standard_normal(tuple(p.shape)) * 1.2 / np.sqrt(max(1, np.prod(p.shape[1:]))))
                  for n, p in net.named_parameters()}
        names, sizes = list(params), [p.numel() for p in params.values()]
        x = torch.from_numpy(rng.standard_normal((args.points, *shape)))
        classes = torch.from_numpy(rng.integers(0, CLASSES, args.points))
        values = torch.from_numpy(rng.standard_normal((args.points, CLASSES)))
        rates = {n: float(r) for n, r in zip(names, 0.05 * 4.0 ** rng.uniform(-1, 1, len(names)))}
        each = {n: np.exp(rng.standard_normal(tuple(p.shape)) - 2) for n, p in params.items()}
        theta = torch.cat([p.flatten() for p in params.values()])

        def outputs(theta, x):
            parts = [t.reshape(p.shape) for t, p in zip(theta.split(sizes), params.values())]
            return functional_call(net, dict(zip(names, parts)), (x,))

        losses = {
            "cross_entropy": lambda z: F.cross_entropy(z, classes),
            "mse": lambda z: F.mse_loss(z, values),
        }
        tensors[f"{name}.x"], tensors[f"{name}.classes"] = array(x), labels(classes.numpy())
        tensors[f"{name}.values"] = array(values)
        for n in names:
            tensors[f"{name}.{n}"], tensors[f"{name}.{n}.preconditioner"] = array(params[n]), each[n]
        entry = {"parameters": names, "rates": rates}
        uniform = np.concatenate([np.full(s, rates[n]) for n, s in zip(names, sizes)]) ** 0.5
        diagonal = np.concatenate([each[n].ravel() for n in names]) ** 0.5
        for loss_name, loss in losses.items():
            h = array(hessian(lambda t: loss(outputs(t, x)))(theta))
            j = array(jacrev(lambda t: outputs(t, x).flatten())(theta))
            z = outputs(theta, x).detach()
            inner = array(hessian(lambda z: loss(z.reshape(args.points, CLASSES)))(z.flatten()))
            matrices = {"hessian": h, "gauss_newton": j.T @ inner @ j}
            entry[loss_name] = {
                kind: {
                    "stored": top(m),
                    "in_rates": top(uniform[:, None] * m * uniform),
                    "preconditioned": top(diagonal[:, None] * m * diagonal),
                    "trace": float(np.trace(m)),
                    "trace_in_rates": float(np.trace(uniform[:, None] * m * uniform)),
                }
                for kind, m in matrices.items()
            }
        networks[name] = entry

    # gradient noise: the loss of single examples, whose gradients' covariance is known over a finite set
    net, (x, y) = "mlp", (torch.from_numpy(tensors["mlp.x"]), torch.from_numpy(tensors["mlp.classes"].astype(np.int64)))
    params = {n: torch.from_numpy(tensors[f"{net}.{n}"]) for n in networks[net]["parameters"]}
    module = NETWORKS[net][1]()
    one = lambda p, x, y: F.cross_entropy(functional_call(module, p, (x.unsqueeze(0),)), y.unsqueeze(0))
    single = vmap(grad(one), (None, 0, 0))(params, x, y)
    g = np.concatenate([array(single[n]).reshape(args.points, -1) for n in params], 1)
    weights = np.concatenate([np.full(p.numel(), networks[net]["rates"][n]) for n, p in params.items()])
    # batches of 2, groups of 3 batches, 2 groups: McCandlish et al. 2018, appendix A.1
    small, parts, groups = 2, 3, args.points // 6
    noise = {}
    for key, w in (("stored", np.ones_like(weights)), ("in_rates", weights)):
        batches = g[: small * parts * groups].reshape(groups, parts, small, -1).mean(2)
        g_small = (batches**2 * w).sum(-1).mean(1)
        g_big = (batches.mean(1) ** 2 * w).sum(-1)
        big = small * parts
        square = (big * g_big - small * g_small) / (big - small)
        trace = (g_small - g_big) / (1 / small - 1 / big)
        noise[key] = {"squared_gradient": float(square.mean()), "trace": float(trace.mean()),
                      "noise_scale": float(trace.mean() / square.mean())}
    document = {
        "source": "torch.func.hessian, jacrev and grad; numpy.linalg.eigvalsh",
        "versions": versions(torch),
        "settings": {"seed": args.seed, "points": args.points, "small": small, "parts": parts, "groups": groups},
        "networks": networks,
        "noise": noise,
    }
    save(args.out, document, tensors)


if __name__ == "__main__":
    main()

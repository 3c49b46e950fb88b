"""Kernels: full tangent kernels from PyTorch's Jacobians, and what numpy, scipy and scikit-learn make of them.

python kernels.py --seed 9 --out kernels

Rows of full kernels are points times outputs: row point * outputs + output.
"""

import argparse

import numpy as np
import scipy
import sklearn
import torch
from scipy.linalg import expm
from sklearn.kernel_ridge import KernelRidge
from torch import nn
from torch.func import functional_call, jacrev, vmap

from common import array, labels, repeatable, save, versions

NETWORKS = {
    "mlp": ((4,), lambda: nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))),
    "cnn": ((2, 5, 4), lambda: nn.Sequential(
        nn.Conv2d(2, 4, 3, 1, 1), nn.ReLU(), nn.Conv2d(4, 3, 3, 2, 1), nn.GroupNorm(1, 3), nn.Tanh(),
        nn.Flatten(), nn.Linear(18, 3))),
    "rows": ((3, 4), lambda: nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 2), nn.Flatten())),
}


def full_kernels(rng, points):
    tensors, networks = {}, {}
    for name, (shape, make) in NETWORKS.items():
        net = make()
        params = {n: torch.from_numpy(rng.standard_normal(tuple(p.shape)) * 0.7 / np.sqrt(max(1, np.prod(p.shape[1:]))))
                  for n, p in net.named_parameters()}
        x = torch.from_numpy(rng.standard_normal((points, *shape)))
        f = lambda p, x: functional_call(net, p, (x.unsqueeze(0),)).squeeze(0)
        total = 0
        for j in vmap(jacrev(f), (None, 0))(params, x).values():
            rows = j.reshape(j.shape[0] * j.shape[1], -1)
            total = total + rows @ rows.T
        tensors[f"{name}.x"] = array(x)
        tensors[f"{name}.full"] = array(total)
        tensors.update({f"{name}.{n}": array(p) for n, p in params.items()})
        networks[name] = {"parameters": list(params)}
    return tensors, networks


def spectral(rng, members=2, points=12, tests=7, outputs=3):
    """Kernels of members with different spectra, on training and test points."""
    tensors = {}
    features = rng.standard_normal((members, points + tests, 20)) / np.arange(1, 21)
    features[1] *= np.linspace(0.3, 2, 20)
    kernels = features @ features.transpose(0, 2, 1)
    train, between = kernels[:, :points, :points], kernels[:, points:, :points]
    y = rng.standard_normal((points, outputs))
    y_test = rng.standard_normal((tests, outputs))
    classes = np.arange(points) % outputs
    classes_test = rng.integers(0, outputs, tests)
    ridges = [1e-3, 0.1, 2.0]
    times, lr = [0.0, 3.0, 40.0], 0.7
    first = rng.standard_normal((members, points, outputs))
    first_test = rng.standard_normal((members, tests, outputs))
    out = {k: [] for k in ("eigenvalues", "power", "cumulative", "power_centred", "predictions", "test_error",
                           "accuracy", "flow_train", "flow_test")}
    for m, (k, t) in enumerate(zip(train, between)):
        values, vectors = np.linalg.eigh(k)
        values, vectors = values[::-1], vectors[:, ::-1]
        power = ((vectors.T @ y) ** 2).sum(1)
        out["eigenvalues"].append(values / points)
        out["power"].append(power / power.sum())
        out["cumulative"].append(np.cumsum(power) / power.sum())
        one_hot = np.eye(outputs)[classes]
        power = ((vectors.T @ (one_hot - one_hot.mean(0))) ** 2).sum(1)
        out["power_centred"].append(power / power.sum())
        predictions = np.stack([KernelRidge(alpha=r, kernel="precomputed").fit(k, y).predict(t) for r in ridges])
        out["predictions"].append(predictions)
        out["test_error"].append(((predictions - y_test) ** 2).mean((1, 2)))
        by_class = np.stack([KernelRidge(alpha=r, kernel="precomputed").fit(k, one_hot).predict(t) for r in ridges])
        out["accuracy"].append((by_class.argmax(2) == classes_test).mean(1))
        # the flow of training and test outputs together is linear: d(f, g)/dt = -c (K, T) (f - y)
        c = 2 * lr / (points * outputs)
        generator = np.zeros((points + tests, points + tests))
        generator[:points, :points], generator[points:, :points] = -c * k, -c * t
        state = np.concatenate([first[m] - y, first_test[m]])
        flows = [expm(generator * time) @ state for time in times]
        out["flow_train"].append(np.stack([f[:points] + y for f in flows]))
        out["flow_test"].append(np.stack([f[points:] for f in flows]))
    for name, value in out.items():
        tensors[name] = array(np.stack(value))
    vectors = [np.linalg.eigh(k)[1][:, ::-1][:, :4] for k in train]
    overlap = (np.linalg.norm(vectors[0].T @ vectors[1]) ** 2) / 4
    tensors.update(k_train=array(train), k_test_train=array(between), y=array(y), y_test=array(y_test),
                   classes=labels(classes), classes_test=labels(classes_test), first=array(first),
                   first_test=array(first_test))
    ranks = np.arange(2, 9)
    fit = scipy.stats.linregress(np.log(ranks), np.log(out["eigenvalues"][0][1:8]))
    return tensors, {"ridges": ridges, "times": times, "lr": lr, "overlap_4": overlap,
                     "exponent_2_8": {"exponent": -fit.slope, "error": fit.stderr}}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=9)
    parser.add_argument("--points", type=int, default=5)
    parser.add_argument("--out", default="kernels")
    args = parser.parse_args()
    rng = repeatable(args.seed)
    tensors, networks = full_kernels(rng, args.points)
    more, spectra = spectral(rng)
    tensors.update(more)
    document = {
        "source": "torch.func.jacrev, numpy.linalg.eigh, sklearn.kernel_ridge.KernelRidge, scipy.linalg.expm",
        "versions": versions(torch, scipy, sklearn),
        "settings": {"seed": args.seed, "points": args.points},
        "networks": networks,
        "spectra": spectra,
    }
    save(args.out, document, tensors)


if __name__ == "__main__":
    main()

"""Adafactor, Shampoo and SOAP over given gradients of matrices.

Adafactor is torch.optim's. SOAP is pytorch-optimizer's, a port of its authors' code; a matrix that is not square has
eigenvectors of the eigenvalue 0, which are arbitrary, so there the state after the first step is stored too. Shampoo is
written here with scipy's matrix powers; where pytorch-optimizer's scalable Shampoo means the same (no first moment),
both are compared before anything is stored.

python matrix_optimizers.py --steps 40 --seed 1 --out matrix_optimizers
"""

import argparse
import importlib.metadata
from unittest import mock

import numpy as np
import scipy
import torch
from pytorch_optimizer.optimizer import soap as soap_module
from pytorch_optimizer.optimizer.shampoo import ScalableShampoo
from pytorch_optimizer.optimizer.utils import preconditioner
from pytorch_optimizer.optimizer.utils.graft import LayerWiseGrafting
from torch.optim import Adafactor

from common import array, repeatable, save, versions

# In PyTorch's layout [out, in].
MATRICES = {"tall": (7, 4), "wide": (4, 7), "square": (5, 5)}
VECTORS = {"bias": (6,)}

ADAFACTOR = {
    "adafactor": {"lr": 0.05},
    "adafactor_decay": {"lr": 0.02, "beta2_decay": -0.5, "weight_decay": 0.1},
    "adafactor_clip": {"lr": 0.05, "d": 1.5, "eps": (1e-2, 0.5)},
}

SOAP = {
    "soap": {"lr": 0.02, "precondition_frequency": 3, "weight_decay": 0.0},
    "soap_decay": {"lr": 0.02, "betas": (0.9, 0.98), "shampoo_beta": 0.8, "precondition_frequency": 1, "weight_decay": 0.1, "eps": 1e-3},
    "soap_one_side": {"lr": 0.02, "precondition_frequency": 2, "max_precondition_dim": 5, "weight_decay": 0.0},
}

SHAMPOO = {
    "shampoo": {"frequency": 1},
    "shampoo_momentum": {"frequency": 1, "beta1": 0.8, "weight_decay": 0.1},
    "shampoo_half": {"frequency": 1, "exponents": (0.5, 0.5), "beta2": 0.8},
    "shampoo_one_side": {"frequency": 1, "exponents": (0.5, 0.0), "eps": 1e-2},
    "shampoo_blocks": {"frequency": 1, "block": 3},
    "shampoo_seldom": {"frequency": 4, "beta1": 0.9},
    "shampoo_graft": {"frequency": 1, "beta1": 0.9, "graft": "adam", "adam_eps": 1e-6},
    "shampoo_graft_blocks": {"frequency": 2, "block": 3, "graft": "adam", "adam_eps": 1e-6},
    "shampoo_spectral": {"frequency": 1, "beta1": 0.9, "graft": "spectral"},
}
SHAMPOO_DEFAULTS = {
    "lr": 0.02, "beta1": 0.0, "beta2": 0.95, "eps": 1e-4, "exponents": (0.25, 0.25), "block": None, "frequency": 1,
    "graft": "none", "adam_eps": 1e-8, "weight_decay": 0.0,
}


def power(moment, correction, eps, exponent):
    """(moment / correction + eps · largest eigenvalue)^-exponent."""
    moment = moment / correction
    ridge = eps * np.linalg.eigvalsh(moment)[-1]
    values, vectors = scipy.linalg.eigh(moment)
    return (vectors * (np.maximum(values, 0) + ridge) ** -exponent) @ vectors.T


class Shampoo:
    """One matrix [out, in]: exponents are those of (in, out), as the settings name them."""

    def __init__(self, shape, settings):
        self.s = SHAMPOO_DEFAULTS | settings
        block = self.s["block"] or max(shape)
        cut = lambda n: [slice(i, min(i + block, n)) for i in range(0, n, block)]
        self.blocks = [(a, b) for a in cut(shape[0]) for b in cut(shape[1])]
        self.moments = {}
        self.powers = {}
        self.first, self.second = np.zeros(shape), np.zeros(shape)
        self.t = 0

    def step(self, p, g):
        s = self.s
        self.t += 1
        correction = 1 - s["beta2"] ** self.t
        self.first = s["beta1"] * self.first + (1 - s["beta1"]) * g
        mean = self.first / (1 - s["beta1"] ** self.t)
        direction = np.zeros_like(g)
        exponent_in, exponent_out = s["exponents"]
        for i, (a, b) in enumerate(self.blocks):
            part, d = g[a, b], mean[a, b]
            for side, outer, exponent in [("out", part @ part.T, exponent_out), ("in", part.T @ part, exponent_in)]:
                if exponent == 0:
                    continue
                old = self.moments.get((i, side), np.zeros_like(outer))
                self.moments[i, side] = s["beta2"] * old + (1 - s["beta2"]) * outer
                if (self.t - 1) % s["frequency"] == 0:
                    self.powers[i, side] = power(self.moments[i, side], correction, s["eps"], exponent)
                d = self.powers[i, side] @ d if side == "out" else d @ self.powers[i, side]
            direction[a, b] = d
        if s["graft"] == "adam":
            self.second = s["beta2"] * self.second + (1 - s["beta2"]) * g**2
            adam = mean / (np.sqrt(self.second / correction) + s["adam_eps"])
            direction *= np.linalg.norm(adam) / np.linalg.norm(direction)
        if s["graft"] == "spectral":
            direction *= np.sqrt(p.shape[0] / p.shape[1]) / np.linalg.norm(direction, 2)
        return (1 - s["lr"] * s["weight_decay"]) * p - s["lr"] * direction


def scalable_shampoo(start, gradients, s):
    """pytorch-optimizer's, with our ridge, exponents and correction of bias in place of its matrix root."""
    param = torch.nn.Parameter(torch.from_numpy(start.copy()))
    count = {"t": 0}

    def root(mat_g, p, ridge_epsilon):
        moment = mat_g.numpy()
        return torch.from_numpy(power(moment, 1 - s["beta2"] ** count["t"], s["eps"], 1 / p))

    optimizer = ScalableShampoo(
        [param], lr=s["lr"], betas=(0.0, s["beta2"]), moving_average_for_momentum=True, nesterov=False,
        start_preconditioning_step=1, preconditioning_compute_steps=1, block_size=s["block"] or 100,
        shape_interpretation=False, graft_type=LayerWiseGrafting.NONE, matrix_eps=0.0,
        inverse_exponent_override=round(1 / s["exponents"][0]),
        weight_decay=s["weight_decay"], decoupled_weight_decay=True,
    )
    with mock.patch.object(preconditioner, "compute_power_schur_newton", root):
        for g in gradients:
            count["t"] += 1
            param.grad = torch.from_numpy(g.copy())
            optimizer.step()
    return array(param)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", default="matrix_optimizers")
    args = parser.parse_args()
    rng = repeatable(args.seed)
    kept = sorted({1, 2, min(10, args.steps), args.steps})
    shapes = MATRICES | VECTORS

    start = {n: rng.standard_normal(s) for n, s in shapes.items()}
    gradients = {}
    for name, shape in shapes.items():
        gradients[name] = 0.5 * rng.standard_normal(shape) + rng.standard_normal((args.steps, *shape))
    tensors = {f"start.{n}": array(v) for n, v in start.items()}
    tensors |= {f"gradients.{n}": array(v) for n, v in gradients.items()}
    cases = {}

    def keep(case, step, name, value):
        if step in kept:
            tensors[f"{case}.{step}.{name}"] = np.ascontiguousarray(value)

    for case, settings in ADAFACTOR.items():
        cases[case] = {"optimizer": "adafactor"} | settings
        for name in shapes:
            param = torch.nn.Parameter(torch.from_numpy(start[name].copy()))
            optimizer = Adafactor([param], foreach=False, **settings)
            for step, g in enumerate(gradients[name], 1):
                param.grad = torch.from_numpy(g.copy())
                optimizer.step()
                keep(case, step, name, array(param))

    for case, settings in SOAP.items():
        cases[case] = {"optimizer": "soap"} | settings
        for name in MATRICES:
            param = torch.nn.Parameter(torch.from_numpy(start[name].copy()))
            optimizer = soap_module.SOAP([param], **settings)
            # it takes the QR decomposition in float32, here it runs in the parameters' precision
            with mock.patch.object(torch, "float32", torch.float64):
                for step, g in enumerate(gradients[name], 1):
                    param.grad = torch.from_numpy(g.copy())
                    optimizer.step()
                    keep(case, step, name, array(param))
                    if step == 1:
                        for side, q in zip(["out", "in"], optimizer.state[param]["Q"]):
                            if len(q) > 0:
                                tensors[f"{case}.basis_{side}.{name}"] = array(q)

    checked = []
    for case, settings in SHAMPOO.items():
        s = SHAMPOO_DEFAULTS | settings
        cases[case] = {"optimizer": "shampoo"} | s
        for name, shape in MATRICES.items():
            p, optimizer = start[name], Shampoo(shape, settings)
            for step, g in enumerate(gradients[name], 1):
                p = optimizer.step(p, g)
                keep(case, step, name, p)
            same_powers = s["exponents"][0] == s["exponents"][1]
            if s["beta1"] == 0 and same_powers and s["graft"] == "none" and s["frequency"] == 1:
                other = scalable_shampoo(start[name], gradients[name], s)
                np.testing.assert_allclose(p, other, rtol=1e-9, atol=1e-9)
                checked.append(f"{case}.{name}")
    assert len(checked) >= 9, checked

    document = {
        "source": "torch.optim, pytorch-optimizer, scipy",
        "versions": versions(torch) | {
            "pytorch-optimizer": importlib.metadata.version("pytorch_optimizer"), "scipy": scipy.__version__},
        "settings": {"steps": args.steps, "seed": args.seed, "kept": kept},
        "matrices": {n: list(s) for n, s in MATRICES.items()},
        "vectors": {n: list(s) for n, s in VECTORS.items()},
        "cases": cases,
    }
    save(args.out, document, tensors)


if __name__ == "__main__":
    main()

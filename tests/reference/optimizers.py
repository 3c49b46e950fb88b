"""torch.optim and lion-pytorch over 100 steps of given gradients, gradient clipping, and learning-rate schedules.

python optimizers.py --steps 100 --seed 1 --out optimizers
"""

import argparse
import importlib.metadata
from unittest import mock

import numpy as np
import torch
from lion_pytorch import Lion
from torch.optim import SGD, Adam, AdamW, Muon
from torch.optim import lr_scheduler as schedulers
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from common import array, repeatable, save, versions

SHAPES = {"weight": (3, 5), "bias": (5,), "kernel": (2, 1, 3)}

CASES = {
    "sgd": (SGD, {"lr": 0.1}),
    "sgd_weight_decay": (SGD, {"lr": 0.1, "weight_decay": 0.05}),
    "sgd_momentum": (SGD, {"lr": 0.05, "momentum": 0.9}),
    "sgd_momentum_weight_decay": (SGD, {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.05}),
    "sgd_nesterov": (SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    "sgd_nesterov_weight_decay": (SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.05}),
    "adam": (Adam, {"lr": 0.01, "betas": (0.9, 0.999), "eps": 1e-8}),
    "adam_eps": (Adam, {"lr": 0.01, "betas": (0.9, 0.999), "eps": 1e-3}),
    "adam_betas": (Adam, {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-8}),
    "adam_weight_decay": (Adam, {"lr": 0.01, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.05}),
    "adamw": (AdamW, {"lr": 0.01, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.1}),
    "adamw_no_weight_decay": (AdamW, {"lr": 0.01, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}),
    "lion": (Lion, {"lr": 0.01, "betas": (0.9, 0.99)}),
    "lion_weight_decay": (Lion, {"lr": 0.01, "betas": (0.95, 0.98), "weight_decay": 0.1}),
}

# Optimizers of whole matrices, in PyTorch's layout [out, in].
MATRICES = {"tall": (7, 4), "wide": (4, 7), "square": (5, 5)}
MATRIX_CASES = {
    "muon": (Muon, {"lr": 0.02}),
    "muon_no_weight_decay": (Muon, {"lr": 0.02, "weight_decay": 0.0}),
    "muon_plain_momentum": (Muon, {"lr": 0.02, "nesterov": False, "momentum": 0.8}),
    "muon_rms": (Muon, {"lr": 0.02, "adjust_lr_fn": "match_rms_adamw", "ns_steps": 3}),
    "muon_spectral": (Muon, {"lr": 0.02, "adjust_lr_fn": "spectral_unclamped"}),
    "muon_eps": (Muon, {"lr": 0.02, "eps": 1.0}),
}

EMA_DECAYS = [0.9, 0.999, 0.25]

# The learning rate that each schedule gives, as a function of (optimizer, steps).
WARMUP, DECAY = 20, 30


def stable(optimizer, steps, decay):
    """Warm-up, a constant, and `decay` over the last steps."""
    warmup = schedulers.LinearLR(optimizer, 1 / WARMUP, 1.0, WARMUP - 1)
    constant = schedulers.ConstantLR(optimizer, factor=1.0)
    return schedulers.SequentialLR(optimizer, [warmup, constant, decay], [WARMUP, steps - DECAY])


SCHEDULES = {
    "constant": lambda o, steps: schedulers.ConstantLR(o, factor=1.0),
    "linear_warmup": lambda o, steps: schedulers.LinearLR(o, 1 / WARMUP, 1.0, WARMUP - 1),
    "linear_warmup_from_zero": lambda o, steps: schedulers.LambdaLR(o, lambda t: min(1.0, t / WARMUP)),
    "cosine": lambda o, steps: schedulers.CosineAnnealingLR(o, steps, eta_min=0.0),
    "cosine_to_minimum": lambda o, steps: schedulers.CosineAnnealingLR(o, steps, eta_min=0.01),
    "linear_warmup_cosine": lambda o, steps: schedulers.SequentialLR(
        o,
        [schedulers.LinearLR(o, 1 / WARMUP, 1.0, WARMUP - 1), schedulers.CosineAnnealingLR(o, steps - WARMUP)],
        [WARMUP],
    ),
    "linear": lambda o, steps: schedulers.LinearLR(o, 1.0, 0.2, steps),
    "linear_warmup_linear": lambda o, steps: schedulers.SequentialLR(
        o,
        [schedulers.LinearLR(o, 1 / WARMUP, 1.0, WARMUP - 1), schedulers.LinearLR(o, 1.0, 0.1, steps - WARMUP)],
        [WARMUP],
    ),
    "polynomial": lambda o, steps: schedulers.PolynomialLR(o, steps, power=2.0),
    "wsd": lambda o, steps: stable(o, steps, schedulers.LinearLR(o, 1.0, 0.1, DECAY)),
    "wsd_cosine": lambda o, steps: stable(o, steps, schedulers.CosineAnnealingLR(o, DECAY, eta_min=0.01)),
    "wsd_sqrt": lambda o, steps: stable(o, steps, schedulers.LambdaLR(o, lambda t: 0.1 + 0.9 * (1 - min(1, t / DECAY) ** 0.5))),
    "inverse_sqrt": lambda o, steps: schedulers.LambdaLR(o, lambda t: WARMUP**0.5 * min((t + 1) ** -0.5, (t + 1) * WARMUP**-1.5)),
    "step": lambda o, steps: schedulers.StepLR(o, step_size=30, gamma=0.5),
    "multi_step": lambda o, steps: schedulers.MultiStepLR(o, milestones=[10, 40, 80], gamma=0.1),
}
SCHEDULE_SETTINGS = {
    "constant": {},
    "linear_warmup": {"warmup": WARMUP, "first": "lr / warmup"},
    "linear_warmup_from_zero": {"warmup": WARMUP, "first": "0"},
    "cosine": {"steps": None, "minimum": 0.0},
    "cosine_to_minimum": {"steps": None, "minimum": 0.01},
    "linear_warmup_cosine": {"warmup": WARMUP, "steps": None, "minimum": 0.0},
    "linear": {"kind": "linear", "steps": None, "minimum": 0.02},
    "linear_warmup_linear": {"kind": "linear", "warmup": WARMUP, "steps": None, "minimum": 0.01},
    "polynomial": {"kind": "polynomial", "steps": None, "power": 2.0, "minimum": 0.0},
    "wsd": {"kind": "wsd", "warmup": WARMUP, "steps": None, "decay": DECAY, "shape": "linear", "minimum": 0.01},
    "wsd_cosine": {"kind": "wsd", "warmup": WARMUP, "steps": None, "decay": DECAY, "shape": "cosine", "minimum": 0.01},
    "wsd_sqrt": {"kind": "wsd", "warmup": WARMUP, "steps": None, "decay": DECAY, "shape": "sqrt", "minimum": 0.01},
    "inverse_sqrt": {"kind": "inverse_sqrt", "warmup": WARMUP},
    "step": {"every": 30, "factor": 0.5},
    "multi_step": {"at": [10, 40, 80], "factor": 0.1},
}


def parameters(start):
    return {n: torch.nn.Parameter(torch.from_numpy(v.copy())) for n, v in start.items()}


def trajectories(rng, shapes, steps):
    """Start and gradients of parameters."""
    start = {n: rng.standard_normal(s) for n, s in shapes.items()}
    gradients = {}
    for name, shape in shapes.items():
        drift = rng.standard_normal(shape)
        gradients[name] = 0.5 * drift + rng.standard_normal((steps, *shape))
        gradients[name][5] = 0.0
    return start, gradients


def run(case, start, gradients, steps, kept, schedule=None):
    """Parameters after the kept steps."""
    constructor, settings = case
    params = parameters(start)
    optimizer = constructor(params.values(), **settings)
    scheduler = schedule(optimizer, steps) if schedule else None
    after = {}
    for step in range(steps):
        for name, p in params.items():
            p.grad = torch.from_numpy(gradients[name][step].copy())
        optimizer.step()
        if scheduler:
            scheduler.step()
        if step + 1 in kept:
            after[step + 1] = {n: array(p) for n, p in params.items()}
    return after


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", default="optimizers")
    args = parser.parse_args()
    rng = repeatable(args.seed)
    kept = sorted({1, min(10, args.steps), args.steps})

    start = {n: rng.standard_normal(s) for n, s in SHAPES.items()}
    gradients = {}
    for name, shape in SHAPES.items():
        scale = 10.0 ** rng.uniform(-4, 1, shape)  # entries of very different size tell eps apart
        drift = rng.standard_normal(shape)
        gradients[name] = scale * (0.5 * drift + rng.standard_normal((args.steps, *shape)))
        gradients[name][5] = 0.0  # one step without any gradient
    gradients["bias"][:, 1] = 0.0  # one entry that never has one

    tensors = {f"start.{n}": array(v) for n, v in start.items()}
    tensors |= {f"gradients.{n}": array(v) for n, v in gradients.items()}
    cases = {}
    for name, (constructor, settings) in CASES.items():
        cases[name] = {"optimizer": constructor.__name__} | settings
        for step, params in run(CASES[name], start, gradients, args.steps, kept).items():
            tensors |= {f"{name}.{step}.{n}": v for n, v in params.items()}

    matrix_start, matrix_gradients = trajectories(np.random.default_rng(args.seed + 1), MATRICES, args.steps)
    tensors |= {f"start.{n}": array(v) for n, v in matrix_start.items()}
    tensors |= {f"gradients.{n}": array(v) for n, v in matrix_gradients.items()}
    matrix_cases = {}
    # Muon orthogonalises in bfloat16; here it runs in the parameters' precision
    with mock.patch.object(torch, "bfloat16", torch.float64):
        for name, (constructor, settings) in MATRIX_CASES.items():
            matrix_cases[name] = {"optimizer": constructor.__name__} | settings
            for step, params in run(MATRIX_CASES[name], matrix_start, matrix_gradients, args.steps, kept).items():
                tensors |= {f"{name}.{step}.{n}": v for n, v in params.items()}

    # averages of weights that take the gradients' values, as numbers that move
    for decay in EMA_DECAYS:
        module = torch.nn.ParameterDict(parameters(start))
        averaged = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(decay))
        for step in range(args.steps):
            for name, p in module.items():
                p.data.copy_(torch.from_numpy(gradients[name][step]))
            averaged.update_parameters(module)
            if step + 1 in kept:
                tensors |= {f"ema_{decay}.{step + 1}.{n}": array(p) for n, p in averaged.module.items()}

    scheduled = {}
    for optimizer, schedule in [("sgd_momentum", "linear_warmup_cosine"), ("adamw", "linear_warmup_cosine"), ("adam", "step")]:
        name = f"{optimizer}.with.{schedule}"
        scheduled[name] = {"case": optimizer, "schedule": schedule}
        for step, params in run(CASES[optimizer], start, gradients, args.steps, kept, SCHEDULES[schedule]).items():
            tensors |= {f"{name}.{step}.{n}": v for n, v in params.items()}

    clipping = {}
    for kind, limit in [("norm", 1.0), ("norm", 1e6), ("value", 0.25)]:
        name = f"clip_{kind}_{limit:g}"
        params, norms = parameters(start), []
        clipped = {n: [] for n in params}
        for step in range(3):
            for n, p in params.items():
                p.grad = torch.from_numpy(gradients[n][step].copy())
            norms.append(float(sum((p.grad**2).sum() for p in params.values()) ** 0.5))
            if kind == "norm":
                torch.nn.utils.clip_grad_norm_(params.values(), limit)
            else:
                torch.nn.utils.clip_grad_value_(params.values(), limit)
            for n, p in params.items():
                clipped[n].append(array(p.grad))
        clipping[name] = {"kind": kind, "limit": limit, "global_norms": norms}
        tensors |= {f"{name}.{n}": array(np.stack(v)) for n, v in clipped.items()}

    schedules = {}
    for name, make in SCHEDULES.items():
        lr = 0.1
        optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
        scheduler = make(optimizer, args.steps)
        values = []
        for _ in range(args.steps):
            values.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        settings = {k: args.steps if k == "steps" else v for k, v in SCHEDULE_SETTINGS[name].items()}
        schedules[name] = {"lr": lr} | settings | {"values": values}

    document = {
        "source": "torch.optim, lion-pytorch",
        "versions": versions(torch) | {"lion-pytorch": importlib.metadata.version("lion-pytorch")},
        "settings": {"steps": args.steps, "seed": args.seed, "kept": kept},
        "shapes": {n: list(s) for n, s in SHAPES.items()},
        "cases": cases,
        "matrices": {n: list(s) for n, s in MATRICES.items()},
        "matrix_cases": matrix_cases,
        "averages": {"decays": EMA_DECAYS},
        "scheduled": scheduled,
        "clipping": clipping,
        "schedules": schedules,
    }
    save(args.out, document, tensors)


if __name__ == "__main__":
    main()

"""Layers and losses of PyTorch: values, and gradients with respect to inputs and parameters.

python layers.py --seed 2 --out layers

Every case has a fixed weight `g` for its output: gradients are those of sum(output * g). Losses
have gradients of the loss itself.
"""

import argparse
import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from common import array, labels, repeatable, save, versions

ACTIVATIONS = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "tanh": torch.tanh,
    "erf": torch.erf,
    "identity": lambda x: x,
    "quadratic": lambda x: x * x,
}
LATER_ACTIVATIONS = {"silu": F.silu}


class Cases:
    def __init__(self):
        self.tensors, self.document = {}, {}

    def add(self, name, function, inputs, rng, **settings):
        """Runs function(**inputs) and keeps inputs, output, output weight and gradients."""
        leaves = {n: torch.from_numpy(np.ascontiguousarray(v)).requires_grad_() for n, v in inputs.items()}
        output = function(**leaves)
        weight = rng.standard_normal(tuple(output.shape))
        (output * torch.from_numpy(np.asarray(weight))).sum().backward()
        self.keep(name, leaves, {"output": output, "g": weight}, settings)

    def add_loss(self, name, function, inputs, extra, **settings):
        """Runs the loss function(**inputs) and keeps inputs, loss and gradients."""
        leaves = {n: torch.from_numpy(np.ascontiguousarray(v)).requires_grad_() for n, v in inputs.items()}
        loss = function(**leaves)
        loss.backward()
        self.keep(name, leaves, extra, settings | {"loss": loss.item()})

    def keep(self, name, leaves, others, settings):
        for n, v in leaves.items():
            self.tensors[f"{name}.{n}"] = array(v)
            self.tensors[f"{name}.grad.{n}"] = array(v.grad)
        for n, v in others.items():
            self.tensors[f"{name}.{n}"] = v if isinstance(v, np.ndarray) and v.dtype == np.uint32 else array(v)
        self.document[name] = settings | {"shapes": {n: list(v.shape) for n, v in leaves.items()}}


def add_activation(cases, name, function, grid, rng):
    normal = lambda *shape: rng.standard_normal(shape)
    cases.add(f"activation.{name}", lambda x: function(x), {"x": np.concatenate([grid, normal(15)])}, rng)
    cases.add(f"activation_at_zero.{name}", lambda x: function(x), {"x": np.zeros(1)}, rng)
    cases.add(f"linear_{name}.6x5x7", lambda x, weight, bias: function(F.linear(x, weight, bias)),
              {"x": normal(6, 5), "weight": normal(7, 5), "bias": normal(7)}, rng, activation=name)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--out", default="layers")
    args = parser.parse_args()
    rng = repeatable(args.seed)
    normal = lambda *shape: rng.standard_normal(shape)
    cases = Cases()

    for batch, fan_in, fan_out in [(7, 5, 3), (1, 1, 1), (4, 17, 9)]:
        shape = f"{batch}x{fan_in}x{fan_out}"
        cases.add(f"linear.{shape}", lambda x, weight, bias: F.linear(x, weight, bias),
                  {"x": normal(batch, fan_in), "weight": normal(fan_out, fan_in), "bias": normal(fan_out)}, rng)
        cases.add(f"linear_no_bias.{shape}", lambda x, weight: F.linear(x, weight),
                  {"x": normal(batch, fan_in), "weight": normal(fan_out, fan_in)}, rng)
    # the member axis in front; members of the first layer share one input
    per_member = lambda x, weight, bias: torch.stack([F.linear(a, b, c) for a, b, c in zip(x, weight, bias)])
    shared = lambda x, weight, bias: torch.stack([F.linear(x, b, c) for b, c in zip(weight, bias)])
    cases.add("linear_members.3x7x5x4", per_member, {"x": normal(3, 7, 5), "weight": normal(3, 4, 5), "bias": normal(3, 4)}, rng)
    cases.add("linear_shared_input.3x7x5x4", shared, {"x": normal(7, 5), "weight": normal(3, 4, 5), "bias": normal(3, 4)}, rng)

    grid = np.array([-12.0, -6.0, -3.0, -1.5, -0.7, -0.1, -1e-3, -1e-8, 1e-8, 1e-3, 0.1, 0.7, 1.5, 3.0, 6.0, 12.0])
    for name, function in ACTIVATIONS.items():
        add_activation(cases, name, function, grid, rng)

    for rows, size, eps in [(6, 7, 1e-5), (1, 2, 1e-5), (3, 33, 1e-2)]:
        cases.add(f"layer_norm.{rows}x{size}", lambda x, weight, bias: F.layer_norm(x, (size,), weight, bias, eps),
                  {"x": 2 * normal(rows, size) + 1, "weight": normal(size), "bias": normal(size)}, rng, eps=eps)
    cases.add("layer_norm.members.2x3x5",
              lambda x, weight, bias: torch.stack([F.layer_norm(a, (5,), b, c) for a, b, c in zip(x, weight, bias)]),
              {"x": normal(2, 3, 5), "weight": normal(2, 5), "bias": normal(2, 5)}, rng, eps=1e-5)

    for name, function in [("relu", F.relu), ("gelu", F.gelu)]:
        block = lambda x, up, up_bias, down, down_bias, f=function: x + F.linear(f(F.linear(x, up, up_bias)), down, down_bias)
        cases.add(f"residual.{name}.5x4x9", block,
                  {"x": normal(5, 4), "up": normal(9, 4), "up_bias": normal(9), "down": normal(4, 9), "down_bias": normal(4)}, rng)

    for name, logits in [("9x5", normal(9, 5)), ("1x2", normal(1, 2)), ("4x3.large", 300 * normal(4, 3)), ("3x11", normal(3, 11))]:
        classes = rng.integers(0, logits.shape[1], logits.shape[0])
        target = torch.from_numpy(classes)
        each = F.cross_entropy(torch.from_numpy(logits), target, reduction="none")
        cases.add_loss(f"cross_entropy.{name}", lambda logits: F.cross_entropy(logits, target), {"logits": logits},
                       {"classes": labels(classes), "per_example": each})
    for name, shape in [("9x3", (9, 3)), ("1x1", (1, 1)), ("4x7", (4, 7))]:
        values = normal(*shape)
        each = F.mse_loss(torch.from_numpy(out := normal(*shape)), torch.from_numpy(values), reduction="none").mean(-1)
        cases.add_loss(f"mse.{name}", lambda outputs: F.mse_loss(outputs, torch.from_numpy(values)), {"outputs": out},
                       {"values": values, "per_example": each})

    # added later: the random numbers of the cases above stay as they were
    for name, function in LATER_ACTIVATIONS.items():
        add_activation(cases, name, function, grid, rng)

    for rows, size, eps in [(6, 7, 1e-5), (1, 2, 1e-5), (3, 33, 1e-2)]:
        cases.add(f"rms_norm.{rows}x{size}", lambda x, weight: F.rms_norm(x, (size,), weight, eps),
                  {"x": 2 * normal(rows, size) + 1, "weight": normal(size)}, rng, eps=eps)
    # [batch, positions, channels], the layout of the program
    for batch, positions, channels, groups in [(3, 5, 6, 2), (1, 1, 4, 1), (2, 7, 8, 8), (2, 9, 33, 3)]:
        cases.add(f"group_norm.{batch}x{positions}x{channels}.{groups}",
                  lambda x, weight, bias: F.group_norm(x.transpose(1, 2), groups, weight, bias, 1e-5).transpose(1, 2),
                  {"x": 2 * normal(batch, positions, channels) + 1, "weight": normal(channels), "bias": normal(channels)},
                  rng, eps=1e-5, groups=groups)
    for batch, positions, channels, momentum in [(3, 5, 6, 0.1), (7, 1, 3, 0.3), (2, 9, 33, 0.1)]:
        x, weight, bias = 2 * normal(batch, positions, channels) + 1, normal(channels), normal(channels)
        before = [normal(channels), np.exp(normal(channels))]
        for training in [True, False]:
            def batch_norm(x, weight, bias):
                return F.batch_norm(x.transpose(1, 2), *running, weight, bias, training, momentum, 1e-5).transpose(1, 2)
            running = [torch.tensor(r) for r in before]
            batch_norm(*map(torch.tensor, (x, weight, bias)))
            after = [r.tolist() for r in running]
            mode = "training" if training else "evaluation"
            cases.add(f"batch_norm_{mode}.{batch}x{positions}x{channels}", batch_norm,
                      {"x": x, "weight": weight, "bias": bias}, rng, eps=1e-5, momentum=momentum,
                      before=[r.tolist() for r in before], after=after)

    default_init = []
    for fan_in, fan_out in [(20, 16), (256, 256), (784, 512), (64, 10)]:
        drawn = [nn.Linear(fan_in, fan_out) for _ in range(max(1, 200_000 // (fan_in * fan_out)))]
        default_init.append({
            "fan_in": fan_in,
            "fan_out": fan_out,
            "std": 1 / math.sqrt(3 * fan_in),
            "bound": 1 / math.sqrt(fan_in),
            "empirical_weight_std": torch.cat([d.weight.flatten() for d in drawn]).std().item(),
            "empirical_bias_std": torch.cat([d.bias for d in drawn]).std().item(),
            "empirical_maximum": max(d.weight.abs().max().item() for d in drawn),
        })

    document = {
        "source": "torch.nn.functional",
        "versions": versions(torch),
        "settings": {"seed": args.seed},
        "cases": cases.document,
        "linear_default_init": default_init,
    }
    save(args.out, document, cases.tensors)


if __name__ == "__main__":
    main()

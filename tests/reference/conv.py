"""Convolution, pooling and normalisation of images in PyTorch: values and gradients.

python conv.py --seed 3 --out conv

Every case has a fixed weight `g` for its output: gradients are those of sum(output * g). Filters are
in PyTorch's layout `[out, in / groups, height, width]`.
"""

import argparse

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from common import array, repeatable, save, versions

CONVOLUTIONS = [  # batch, in, out, image, kernel, stride, padding, groups
    (2, 3, 5, (6, 7), (3, 3), (1, 1), (1, 1), 1),
    (3, 4, 6, (9, 8), (3, 2), (2, 3), (1, 0), 1),
    (1, 2, 3, (1, 1), (1, 1), (1, 1), (0, 0), 1),
    (5, 3, 4, (5, 5), (1, 1), (2, 2), (0, 0), 1),
    (2, 6, 9, (5, 6), (3, 3), (1, 1), (2, 2), 3),
    (2, 2, 3, (2, 3), (5, 7), (1, 1), (2, 3), 1),
    (33, 9, 17, (4, 4), (3, 3), (2, 2), (1, 1), 1),
]
POOLS = [  # image, kernel, stride, padding
    ((6, 6), (2, 2), (2, 2), (0, 0)),
    ((7, 9), (3, 3), (2, 2), (1, 1)),
    ((5, 8), (3, 2), (1, 3), (1, 0)),
    ((3, 3), (3, 3), (1, 1), (0, 0)),
    ((1, 1), (1, 1), (1, 1), (0, 0)),
]


class Block(nn.Module):
    """As in He, Zhang, Ren, Sun 2016; `norm` makes a normalisation of so many channels."""

    def __init__(self, channels, outputs, stride, norm):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, outputs, 3, stride, 1, bias=False)
        self.norm1 = norm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = norm(outputs)
        self.shortcut = None
        if stride != 1 or channels != outputs:
            self.shortcut = nn.ModuleDict(
                {"conv": nn.Conv2d(channels, outputs, 1, stride, bias=False), "norm": norm(outputs)}
            )

    def forward(self, x):
        h = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        if self.shortcut is not None:
            x = self.shortcut["norm"](self.shortcut["conv"](x))
        return F.relu(h + x)


class ResNet18(nn.Module):
    def __init__(self, width, norm, outputs):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.stem_norm = norm(width)
        self.stages = nn.ModuleList()
        channels = width
        for stage in range(4):
            size = width << stage
            first = Block(channels, size, 1 if stage == 0 else 2, norm)
            self.stages.append(nn.ModuleList([first, Block(size, size, 1, norm)]))
            channels = size
        self.readout = nn.Linear(channels, outputs)

    def forward(self, x):
        h = F.relu(self.stem_norm(self.stem(x)))
        for stage in self.stages:
            for block in stage:
                h = block(h)
        return self.readout(h.mean((2, 3)))


class Cases:
    def __init__(self, rng):
        self.rng, self.tensors, self.document = rng, {}, {}

    def add(self, name, function, inputs, **settings):
        """Runs function(**inputs) and keeps inputs, output, output weight and gradients."""
        leaves = {n: torch.from_numpy(np.ascontiguousarray(v)).requires_grad_() for n, v in inputs.items()}
        output = function(**leaves)
        weight = self.rng.standard_normal(tuple(output.shape))
        (output * torch.from_numpy(weight)).sum().backward()
        for n, v in leaves.items():
            self.tensors[f"{name}.{n}"] = array(v)
            self.tensors[f"{name}.grad.{n}"] = array(v.grad)
        self.tensors[f"{name}.output"] = array(output)
        self.tensors[f"{name}.g"] = array(weight)
        self.document[name] = settings | {"shapes": {n: list(v.shape) for n, v in leaves.items()}}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--out", default="conv")
    args = parser.parse_args()
    rng = repeatable(args.seed)
    normal = lambda *shape: rng.standard_normal(shape)
    cases = Cases(rng)

    for i, (batch, inputs, outputs, image, kernel, stride, padding, groups) in enumerate(CONVOLUTIONS):
        cases.add(f"conv2d.{i}",
                  lambda x, weight, bias: F.conv2d(x, weight, bias, stride, padding, groups=groups),
                  {"x": normal(batch, inputs, *image), "weight": normal(outputs, inputs // groups, *kernel), "bias": normal(outputs)},
                  kernel=kernel, stride=stride, padding=padding, groups=groups)

    for i, (image, kernel, stride, padding) in enumerate(POOLS):
        settings = {"kernel": kernel, "stride": stride, "padding": padding}
        # whole numbers: equal maxima in one window
        x = np.round(2 * normal(3, 2, *image))
        cases.add(f"max_pool2d.{i}", lambda x: F.max_pool2d(x, kernel, stride, padding), {"x": x}, **settings)
        for count in [True, False]:
            cases.add(f"avg_pool2d.{i}.{count}",
                      lambda x: F.avg_pool2d(x, kernel, stride, padding, count_include_pad=count),
                      {"x": normal(3, 2, *image)}, count_include_pad=count, **settings)
    cases.add("global_avg_pool.0", lambda x: x.mean((2, 3)), {"x": normal(3, 4, 5, 7)})

    for i, (shape, groups, eps) in enumerate([((3, 6, 4, 5), 3, 1e-5), ((2, 4, 1, 1), 2, 1e-2), ((1, 3, 6, 7), 1, 1e-5), ((2, 5, 3, 3), 5, 1e-5)]):
        inputs = {"x": 2 * normal(*shape) + 1, "weight": normal(shape[1]), "bias": normal(shape[1])}
        for name, after in [("group_norm", lambda x: x), ("group_norm_relu", F.relu)]:
            cases.add(f"{name}.{i}", lambda x, weight, bias: after(F.group_norm(x, groups, weight, bias, eps)), inputs, groups=groups, eps=eps)

    for i, (shape, eps, momentum) in enumerate([((4, 3, 5, 6), 1e-5, 0.1), ((2, 2, 1, 1), 1e-2, 0.3), ((17, 5, 3, 3), 1e-5, 0.1)]):
        inputs = {"x": 2 * normal(*shape) + 1, "weight": normal(shape[1]), "bias": normal(shape[1])}
        start = torch.from_numpy(normal(shape[1])), torch.from_numpy(normal(shape[1]) ** 2)
        for training in [True, False]:
            mean, var = start[0].clone(), start[1].clone()
            name = f"batch_norm.{i}.{'training' if training else 'evaluation'}"
            cases.add(name, lambda x, weight, bias: F.batch_norm(x, mean, var, weight, bias, training, momentum, eps), inputs,
                      training=training, eps=eps, momentum=momentum)
            for n, v in [("mean", start[0]), ("var", start[1]), ("new_mean", mean), ("new_var", var)]:
                cases.tensors[f"{name}.{n}"] = array(v)

    # few channels and small images keep the file small
    net = ResNet18(width=2, norm=lambda channels: nn.GroupNorm(2, channels), outputs=3)
    x = normal(3, 3, 9, 8)
    params = {n: normal(*p.shape) / np.sqrt(max(1, np.prod(p.shape[1:]))) for n, p in net.named_parameters()}
    renamed = {n.replace("stem_norm", "stem.norm"): v for n, v in params.items()}
    back = {n.replace("stem_norm", "stem.norm"): n for n in params}
    cases.add("resnet18", lambda **leaves: torch.func.functional_call(net, {back[n]: v for n, v in leaves.items() if n != "x"}, (leaves["x"],)),
              {"x": x} | renamed, width=2, groups=2, outputs=3)

    document = {
        "source": "torch.nn.functional",
        "versions": versions(torch),
        "settings": {"seed": args.seed},
        "cases": cases.document,
    }
    save(args.out, document, cases.tensors)


if __name__ == "__main__":
    main()

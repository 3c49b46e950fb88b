"""Training runs of MLPs under microsoft/mup: initial weights, batches, and the loss of every step.

python mup_training.py --widths 16,32,64 --base-width 16 --depth 3 --data teacher --out mup
"""

import argparse
import gzip
from pathlib import Path

import mup
import numpy as np
import torch
from torch import nn

from common import array, labels, repeatable, save, versions

ACTIVATIONS = {
    "relu": torch.relu,
    "gelu": nn.functional.gelu,
    "tanh": torch.tanh,
    "erf": torch.erf,
    "identity": lambda x: x,
    "quadratic": lambda x: x * x,
}

# What differs from PyTorch's and mup's defaults; `activation` None is the one of --activation.
VARIANTS = {
    "plain": {},
    "output_mult": {"output_mult": 4.0},
    "zero_readout": {"readout_zero_init": True},
    "layer_norm": {"layer_norm": True},
    "no_bias": {"bias": False},
    "tanh": {"activation": "tanh"},
}

OPTIMIZERS = {
    "sgd": ("MuSGD", {"momentum": 0.9}),
    "sgd_weight_decay": ("MuSGD", {"momentum": 0.9, "weight_decay": 0.01}),
    "adam": ("MuAdam", {"betas": (0.9, 0.999), "eps": 1e-8}),
    "adamw": ("MuAdamW", {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.1}),
}

RUNS = [
    ("plain", "sgd", "cross_entropy"),
    ("plain", "sgd_weight_decay", "cross_entropy"),
    ("plain", "adam", "cross_entropy"),
    ("plain", "adamw", "cross_entropy"),
    ("plain", "sgd", "mse"),
    ("plain", "adam", "mse"),
    ("output_mult", "sgd", "cross_entropy"),
    ("output_mult", "adam", "cross_entropy"),
    ("zero_readout", "sgd", "cross_entropy"),
    ("zero_readout", "adam", "cross_entropy"),
    ("layer_norm", "sgd", "cross_entropy"),
    ("layer_norm", "adam", "cross_entropy"),
    ("no_bias", "sgd", "cross_entropy"),
    ("no_bias", "adam", "cross_entropy"),
    ("tanh", "sgd", "mse"),
    ("tanh", "adam", "mse"),
]


class MLP(nn.Module):
    """`depth` weight layers: (linear, layer norm if asked for, activation) … linear readout."""

    def __init__(self, inputs, outputs, width, depth, activation, bias=True, layer_norm=False,
                 output_mult=1.0, readout_zero_init=False):
        super().__init__()
        sizes = [inputs] + [width] * (depth - 1)
        hidden = [nn.Linear(a, b, bias=bias) for a, b in zip(sizes, sizes[1:])]
        readout = mup.MuReadout(sizes[-1], outputs, bias=bias, output_mult=output_mult,
                                readout_zero_init=readout_zero_init)
        self.layers = nn.ModuleList(hidden + [readout])
        norms = [nn.LayerNorm(width, bias=bias) for _ in hidden] if layer_norm else []
        self.norms = nn.ModuleList(norms)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x):
        for i, layer in enumerate(self.layers[:-1]):
            x = layer(x)
            if self.norms:
                x = self.norms[i](x)
            x = self.activation(x)
        return self.layers[-1](x)


def build(args, width, variant):
    """The network of one variant at one width, as mup initialises it."""
    settings = {"activation": args.activation} | VARIANTS[variant]
    make = lambda w: MLP(args.inputs, args.outputs, w, args.depth, **settings)
    base, delta = make(args.base_width), make(args.base_width + 1)
    torch.manual_seed(args.seed + width)
    model = make(width)
    mup.set_base_shapes(model, base, delta=delta)
    return model


def init_std(args, model):
    """What standard deviation mup gives each parameter, from PyTorch's default and mup's factors.

    nn.Linear draws weight and bias from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), whose standard deviation
    is 1/sqrt(3 fan_in). mup multiplies the bias of each linear layer by sqrt(fan-in multiplier), and
    weight and bias of MuReadout by sqrt(width multiplier). Layer norm starts at weight 1, bias 0.
    """
    std = {}
    for name, p in model.named_parameters():
        kind, index, what = name.split(".")
        if kind == "norms":
            std[name] = 0.0
            continue
        layer = model.layers[int(index)]
        readout = isinstance(layer, mup.MuReadout)
        fan_in = layer.weight.shape[1]
        fan_in_mult = layer.weight.infshape[1].width_mult()
        rescaled = readout or what == "bias"
        std[name] = (3 * fan_in) ** -0.5 * (fan_in_mult**0.5 if rescaled else 1.0)
        if readout and layer.readout_zero_init:
            std[name] = 0.0
        largest, bound = p.abs().max().item(), 3**0.5 * std[name]
        assert largest <= bound * (1 + 1e-12), (name, largest, bound)
        assert p.numel() < 100 or largest >= 0.9 * bound, (name, largest, bound)
    return std


def optimizer_of(name, model, lr):
    """mup's optimizer, and the learning rate and weight decay that it gives each parameter."""
    constructor, settings = OPTIMIZERS[name]
    optimizer = getattr(mup, constructor)(model.parameters(), lr=lr, **settings)
    group_of = {id(p): g for g in optimizer.param_groups for p in g["params"]}
    groups = {n: group_of[id(p)] for n, p in model.named_parameters()}
    return (
        optimizer,
        {n: g["lr"] for n, g in groups.items()},
        {n: g["weight_decay"] for n, g in groups.items()},
    )


def loss_of(kind, outputs, classes, values):
    if kind == "cross_entropy":
        return nn.functional.cross_entropy(outputs, classes)
    return nn.functional.mse_loss(outputs, values)


def train(model, run, lr, batches, dtype):
    """The loss of every step, before the step's update."""
    _, optimizer_name, loss_name = run
    model = model.to(dtype)
    optimizer, lrs, decays = optimizer_of(optimizer_name, model, lr)
    losses = []
    for x, classes, values in zip(*batches):
        loss = loss_of(loss_name, model(x.to(dtype)), classes, values.to(dtype))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, lrs, decays


def idx(path):
    """An idx file, gzipped or not, as an array of bytes."""
    if not path.exists():
        path = path.with_name(path.name + ".gz")
    raw = (gzip.open if path.suffix == ".gz" else open)(path, "rb").read()
    shape = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(raw[3])]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


def batches_of(args, rng):
    """Inputs [steps, batch, inputs], classes [steps, batch], values [steps, batch, outputs]."""
    count = args.steps * args.batch
    if args.data in ("teacher", "random"):
        x = rng.standard_normal((count, args.inputs))
        first = rng.standard_normal((args.inputs, 32)) / args.inputs**0.5
        second = rng.standard_normal((32, args.outputs)) / 32**0.5
        values = np.tanh(2 * x @ first) @ second
        values = values / values.std() + 0.1 * rng.standard_normal(values.shape)
        classes = values.argmax(1)
        if args.data == "random":
            classes = rng.integers(0, args.outputs, count)
            values = rng.standard_normal(values.shape)
    else:
        path = Path(args.data)
        if path.is_dir():  # MNIST or Fashion-MNIST
            images, classes = idx(path / "train-images-idx3-ubyte"), idx(path / "train-labels-idx1-ubyte")
            images = (images.reshape(len(images), -1) / 255.0 - 0.5) / 0.3
        else:  # .npz with `inputs` and `labels`
            loaded = np.load(path)
            images, classes = loaded["inputs"].reshape(len(loaded["inputs"]), -1), loaded["labels"]
        chosen = rng.permutation(len(images))[np.arange(count) % len(images)]
        x, classes = images[chosen].astype(np.float64), classes[chosen].astype(np.int64)
        args.inputs, args.outputs = x.shape[1], int(classes.max()) + 1
        values = np.eye(args.outputs)[classes]
    shape = (args.steps, args.batch)
    tensors = (x.reshape(*shape, -1), classes.reshape(shape), values.reshape(*shape, -1))
    return tuple(torch.from_numpy(np.ascontiguousarray(t)) for t in tensors)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", default="16,32,64", help="comma-separated")
    parser.add_argument("--base-width", type=int, default=16)
    parser.add_argument("--depth", type=int, default=3, help="weight layers, the readout among them")
    parser.add_argument("--inputs", type=int, default=20)
    parser.add_argument("--outputs", type=int, default=5)
    parser.add_argument("--activation", default="relu", choices=ACTIVATIONS)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--sgd-lr", type=float, default=0.1)
    parser.add_argument("--adam-lr", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", default="teacher",
                        help="teacher, random, a folder of MNIST idx files, or an .npz with inputs and labels")
    parser.add_argument("--out", default="mup", help="a name (goes to fixtures/) or a path, without extension")
    args = parser.parse_args()
    widths = [int(w) for w in args.widths.split(",")]

    rng = repeatable(args.seed)
    batches = batches_of(args, rng)
    tensors = {
        "batches.inputs": array(batches[0]),
        "batches.classes": labels(batches[1]),
        "batches.values": array(batches[2]),
    }
    variants = {}
    for variant, changes in VARIANTS.items():
        settings = {"activation": args.activation, "bias": True, "layer_norm": False, "output_mult": 1.0,
                    "readout_zero_init": False} | changes
        variants[variant] = settings | {"widths": {}}
        for width in widths:
            model = build(args, width, variant)
            for name, p in model.named_parameters():
                tensors[f"{variant}.{width}.{name}"] = array(p)
            readout = model.layers[-1]
            factors = {}
            for kind in ("MuSGD", "MuAdam"):
                # learning rate 1 and weight decay 1 leave mup's multipliers
                optimizer = getattr(mup, kind)(model.parameters(), lr=1.0, weight_decay=1.0)
                group_of = {id(p): g for g in optimizer.param_groups for p in g["params"]}
                factors[kind] = {n: {"lr": group_of[id(p)]["lr"], "weight_decay": group_of[id(p)]["weight_decay"]}
                                 for n, p in model.named_parameters()}
            variants[variant]["widths"][str(width)] = {
                "shapes": {n: list(p.shape) for n, p in model.named_parameters()},
                "infinite_dimensions": {n: p.infshape.ninf() for n, p in model.named_parameters()},
                "readout_multiplier": readout.output_mult / readout.width_mult(),
                "init_std": init_std(args, model),
                "optimizer_multipliers": factors,
            }

    runs = []
    for run in RUNS:
        variant, optimizer, loss = run
        lr = args.sgd_lr if OPTIMIZERS[optimizer][0] == "MuSGD" else args.adam_lr
        entry = {"name": ".".join(run), "variant": variant, "optimizer": optimizer, "loss": loss, "lr": lr, "widths": {}}
        worst = 0.0
        for width in widths:
            losses, lrs, decays = train(build(args, width, variant), run, lr, batches, torch.float64)
            single, _, _ = train(build(args, width, variant), run, lr, batches, torch.float32)
            rounding = max(abs(a - b) / abs(a) for a, b in zip(losses, single))
            worst = max(worst, rounding)
            entry["widths"][str(width)] = {"losses": losses, "lr": lrs, "weight_decay": decays,
                                           "float32_deviation": rounding}
        runs.append(entry)
        ends = "  ".join(f"{w}: {v['losses'][0]:.3f} -> {v['losses'][-1]:.3f}" for w, v in entry["widths"].items())
        print(f"{entry['name']:40} {ends}   float32 deviates by {worst:.1e}")

    document = {
        "source": "microsoft/mup",
        "versions": versions(torch, mup_version()),
        "settings": vars(args) | {"widths": widths, "out": None},
        "optimizers": {n: {"constructor": c} | s for n, (c, s) in OPTIMIZERS.items()},
        "variants": variants,
        "runs": runs,
    }
    save(args.out, document, tensors)


def mup_version():
    """mup has no __version__; its package's metadata has."""
    from importlib.metadata import version

    mup.__version__ = version("mup")
    return mup


if __name__ == "__main__":
    main()

"""Training runs of residual networks and transformers under microsoft/mup: initial weights, batches, the
loss of every step, and where parameters end.

python mup_architectures.py --resnet-widths 4,8,16 --transformer-widths 16,32,64 --steps 10 --out mup_architectures

The networks are those of architectures.py; their parameters are in PyTorch's and mup's own modules.
"""

import argparse

import mup
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from architectures import resnet, transformer
from common import array, labels, repeatable, save, versions
from mup_training import mup_version

OPTIMIZERS = {
    "sgd": ("MuSGD", {"momentum": 0.9}),
    "sgd_weight_decay": ("MuSGD", {"momentum": 0.9, "weight_decay": 0.01}),
    "adam": ("MuAdam", {"betas": (0.9, 0.999), "eps": 1e-8}),
    "adam_weight_decay": ("MuAdam", {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01}),
    "adamw": ("MuAdamW", {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.1}),
}

# Columns of `parameters`: what mup makes of PyTorch's initial values and of lr = weight_decay = 1.
COLUMNS = ["infinite_dimensions", "init_std", "sgd_lr", "sgd_weight_decay", "adam_lr", "adam_weight_decay"]

# Entries of each parameter whose end is kept.
KEPT = 3


def variants_of(args):
    """Of each network its settings, those of its readout, the variant whose initial values it takes, and
    optimizers."""
    image = dict(blocks=args.blocks, bottleneck=False, stem="cifar", norm=args.groups, multiplier=1.0, outputs=args.outputs)
    text = dict(vocab=args.vocab, depth=args.depth, head_size=args.head_size, mlp_ratio=args.mlp_ratio,
                activation="gelu_tanh", gated=False, bias=True, norm="layer", norm_position="pre", qk_norm=False,
                positions="learned", scale="1/sqrt(d)", multiplier=1.0, tied=False)
    grown = dict(head_size=None, heads=args.heads)
    llama = dict(depth=1, mlp_ratio=args.mlp_ratio / 3, activation="silu", gated=True, bias=False, norm="rms",
                 positions="rope", qk_norm=True)
    every, main = list(OPTIMIZERS), ["sgd", "adam", "adamw"]
    return {
        "resnet.group": (image, {}, "resnet.group", every),
        "resnet.batch": (image | dict(norm="batch"), {}, "resnet.group", ["sgd_weight_decay", "adamw"]),
        "resnet.output_mult": (image | dict(multiplier=0.5), {"output_mult": 4.0}, "resnet.group", ["sgd", "adamw"]),
        "resnet.zero_readout": (image, {"readout_zero_init": True}, "resnet.group", ["sgd", "adam"]),
        "resnet.bottleneck": (image | dict(blocks=args.blocks[:1], bottleneck=True, stem="imagenet"), {}, "resnet.bottleneck", main),
        # more heads in wider networks
        "transformer.head_size": (text, {}, "transformer.head_size", every),
        # larger heads, with factors sqrt(d0) / d: 1/sqrt(d) at the base width
        "transformer.head_count": (text | grown | dict(scale="sqrt(d0)/d"), {}, "transformer.head_size", main),
        "transformer.inverse": (text | grown | dict(scale="1/d"), {}, "transformer.head_size", main),
        "transformer.output_mult": (text, {"output_mult": 4.0}, "transformer.head_size", ["sgd", "adamw"]),
        "transformer.zero_readout": (text, {"readout_zero_init": True}, "transformer.head_size", ["sgd", "adam"]),
        "transformer.tied": (text | dict(tied=True), {}, "transformer.head_size", every),
        "transformer.tied_output_mult": (text | dict(tied=True), {"output_mult": 4.0}, "transformer.head_size", ["sgd", "adamw"]),
        "transformer.llama": (text | llama, {}, "transformer.llama", main),
    }


class Layers(nn.Module):
    """What architectures.Params is, as modules that mup.set_base_shapes knows."""

    def __init__(self, network, settings, readout, example):
        super().__init__()
        self.network, self.settings, self.readout = network, settings, readout
        self.parts = nn.ModuleDict()
        with torch.no_grad():
            self(example)

    def forward(self, x):
        return self.network(self, x, **self.settings)

    def part(self, name, make):
        key = name.replace(".", "/")  # dots in names of modules mean other modules
        if key not in self.parts:
            self.parts[key] = make()
        return self.parts[key]

    def linear(self, name, x, outputs, bias):
        if name == "readout":
            return self.last(x, lambda: mup.MuReadout(x.shape[-1], outputs, bias=bias, **self.readout))
        return self.part(name, lambda: nn.Linear(x.shape[-1], outputs, bias=bias))(x)

    def tied(self, name, x, table):
        weight = self.table(table)
        # its bias would have the size of the width
        return self.last(x, lambda: mup.MuSharedReadout(weight, bias=False, **self.readout))

    def last(self, x, make):
        """The readout, which refuses to compute before mup.set_base_shapes."""
        readout = self.part("readout", make)
        return readout(x) if hasattr(readout.weight, "infshape") else x

    def conv(self, name, x, outputs, kernel, stride=1, bias=False):
        padding = [k // 2 for k in kernel]
        return self.part(name, lambda: nn.Conv2d(x.shape[1], outputs, kernel, stride, padding, bias=bias))(x)

    def table(self, name, *sizes):
        return self.part(name.removesuffix(".weight"), lambda: nn.Embedding(*sizes)).weight

    def vector(self, name, size, around=0.0):
        """Of a normalisation."""
        name, what = name.rsplit(".", 1)
        norm = self.part(name, nn.ParameterDict)
        if what not in norm:
            norm[what] = nn.Parameter(torch.full((size,), around))
        return norm[what]

    def running(self, name, channels):
        """No training step looks at them."""
        return torch.zeros(channels), torch.ones(channels)

    def named(self):
        """Parameters under the program's names."""
        return {n.removeprefix("parts.").replace("/", "."): p for n, p in self.named_parameters()}


def build(args, variant, width, example):
    """The network of a variant at a width as mup initialises it, and the standard deviations of that."""
    settings, readout, _, _ = variants_of(args)[variant]
    base_width = args.resnet_base if variant.startswith("resnet") else args.transformer_base

    def make(width):
        s = dict(settings)
        if variant.startswith("resnet"):
            return Layers(resnet, s | dict(width=width), readout, example)
        size, heads = s.pop("head_size"), s.pop("heads", None)
        s["heads"] = heads or width // size
        if s["scale"] == "sqrt(d0)/d":
            s["scale"] = (base_width // heads) ** 0.5 / (width // heads)
        return Layers(transformer, s | dict(width=width), readout, example)

    base, delta = make(base_width), make(2 * base_width)
    torch.manual_seed(args.seed + width)
    model = make(width)
    mup.set_base_shapes(model, base, delta=delta)
    if settings.get("tied"):
        # set_base_shapes takes the table for a linear readout's and widens it by sqrt(width multiplier);
        # as an embedding it starts the same at every width
        mup.init.normal_(model.table("embedding.weight"))
    return model, init_std(model)


def init_std(model):
    """What standard deviation mup gives each parameter, from PyTorch's defaults and mup's factors.

    nn.Linear and nn.Conv2d draw from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), whose standard deviation is
    1/sqrt(3 fan_in); mup multiplies biases by sqrt(fan-in multiplier), and weight and bias of MuReadout by
    sqrt(width multiplier). nn.Embedding draws from N(0, 1). Normalisations start at constants.
    """
    std = {}
    for name, p in model.named().items():
        path, what = name.rsplit(".", 1)
        part = model.parts[path.replace(".", "/")]
        if isinstance(part, nn.ParameterDict):
            std[name] = 0.0
            assert p.std() == 0
            continue
        if isinstance(part, nn.Embedding):
            std[name] = 1.0
            assert abs(p.std() - 1) < 5 / p.numel() ** 0.5, (name, p.std())
            continue
        readout = isinstance(part, mup.MuReadout)
        fan_in = part.weight[0].numel()
        factor = part.weight.infshape[1].width_mult() ** 0.5 if readout or what == "bias" else 1.0
        std[name] = 0.0 if readout and part.readout_zero_init else (3 * fan_in) ** -0.5 * factor
        largest, bound = p.abs().max().item(), 3**0.5 * std[name]
        assert largest <= bound * (1 + 1e-12), (name, largest, bound)
        assert p.numel() < 100 or largest >= 0.9 * bound, (name, largest, bound)
    return std


def columns(model, std):
    """The numbers of each parameter that COLUMNS names."""
    table = {n: [p.infshape.ninf(), std[n]] for n, p in model.named().items()}
    for kind in ("MuSGD", "MuAdam"):
        optimizer = getattr(mup, kind)(model.parameters(), lr=1.0, weight_decay=1.0)
        group_of = {id(p): g for g in optimizer.param_groups for p in g["params"]}
        for name, p in model.named().items():
            table[name] += [group_of[id(p)]["lr"], group_of[id(p)]["weight_decay"]]
    return table


def load(model, start):
    """The initial values that variants share; a readout that starts at zero stays there."""
    with torch.no_grad():
        for name, p in model.named().items():
            if not (name.startswith("readout.") and model.readout.get("readout_zero_init")):
                p.copy_(start[name])


def train(model, optimizer, lr, batches):
    """The loss of every step, before the step's update."""
    constructor, settings = OPTIMIZERS[optimizer]
    optimizer = getattr(mup, constructor)(model.parameters(), lr=lr, **settings)
    losses = []
    for x, classes in zip(*batches):
        loss = F.cross_entropy(model(x).flatten(0, -2), classes.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def kept(p):
    """Entries of a parameter in PyTorch's layout, the first and the last among them."""
    flat = array(p).reshape(-1)
    return flat[[i * (flat.size - 1) // (KEPT - 1) for i in range(KEPT)]]


def single(x):
    """Rounded to float32, to store half as many bytes."""
    return x.detach().to(torch.float32)


def batches_of(args, rng):
    """Images around a colour per class; tokens of which most follow from the one before."""
    classes = rng.integers(0, args.outputs, (args.steps, args.batch))
    means = rng.standard_normal((args.outputs, 3, 1, 1))
    images = means[classes] + rng.standard_normal((*classes.shape, 3, *args.image))
    text = rng.integers(0, args.vocab, (args.steps, args.batch, args.context + 1))
    for i in range(args.context):
        follows = rng.random(text.shape[:2]) < 0.8
        text[..., i + 1] = np.where(follows, (3 * text[..., i] + 1) % args.vocab, text[..., i + 1])
    return {
        "resnet": (single(torch.from_numpy(images)).double(), torch.from_numpy(classes)),
        "transformer": (torch.from_numpy(text[..., :-1].copy()), torch.from_numpy(text[..., 1:].copy())),
    }


def main():
    numbers = lambda text: [int(n) for n in text.split(",")]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resnet-widths", type=numbers, default="4,8,16", help="comma-separated")
    parser.add_argument("--resnet-base", type=int, default=4)
    parser.add_argument("--blocks", type=numbers, default="1,1", help="of each stage")
    parser.add_argument("--groups", type=int, default=2, help="of group normalisation")
    parser.add_argument("--image", type=numbers, default="9,8", help="height,width")
    parser.add_argument("--outputs", type=int, default=5)
    parser.add_argument("--transformer-widths", type=numbers, default="16,32,64", help="comma-separated")
    parser.add_argument("--transformer-base", type=int, default=16)
    parser.add_argument("--depth", type=int, default=2)
    parser.add_argument("--head-size", type=int, default=8, help="where the number of heads grows; even")
    parser.add_argument("--heads", type=int, default=2, help="where their size grows")
    parser.add_argument("--mlp-ratio", type=float, default=2.0)
    parser.add_argument("--context", type=int, default=8)
    parser.add_argument("--vocab", type=int, default=11)
    parser.add_argument("--batch", type=int, default=6)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--sgd-lr", type=float, default=0.05)
    parser.add_argument("--adam-lr", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=9)
    parser.add_argument("--out", default="mup_architectures", help="a name (goes to fixtures/) or a path, without extension")
    args = parser.parse_args()

    rng = repeatable(args.seed)
    batches = batches_of(args, rng)
    tensors = {
        "resnet.inputs": single(batches["resnet"][0]).numpy(),
        "resnet.classes": labels(batches["resnet"][1]),
        "transformer.inputs": labels(batches["transformer"][0]),
        "transformer.classes": labels(batches["transformer"][1]),
    }
    variants, runs = {}, []
    for variant, (settings, readout, weights, optimizers) in variants_of(args).items():
        network = variant.split(".")[0]
        widths = args.resnet_widths if network == "resnet" else args.transformer_widths
        example = batches[network][0][0]
        entry = {"network": network, "settings": settings, "weights": weights,
                 "output_mult": readout.get("output_mult", 1.0),
                 "readout_zero_init": readout.get("readout_zero_init", False), "widths": {}}
        ran = {o: {"name": f"{variant}.{o}", "variant": variant, "optimizer": o, "widths": {}} for o in optimizers}
        for width in widths:
            model, std = build(args, variant, width, example)
            if weights == variant:
                tensors |= {f"{variant}.{width}.{n}": single(p).numpy() for n, p in model.named().items()}
            start = {n: torch.from_numpy(tensors[f"{weights}.{width}.{n}"]).double() for n in model.named()}
            last = model.parts["readout"]
            entry["widths"][str(width)] = {
                "readout_multiplier": last.output_mult / last.width_mult(),
                "parameters": columns(model, std),
            }
            for optimizer, run in ran.items():
                model, _ = build(args, variant, width, example)
                load(model, start)
                run["lr"] = args.sgd_lr if OPTIMIZERS[optimizer][0] == "MuSGD" else args.adam_lr
                run["widths"][str(width)] = train(model, optimizer, run["lr"], batches[network])
                tensors[f"{run['name']}.{width}.ends"] = np.stack([kept(p) for p in model.named().values()])
        variants[variant] = entry
        for run in ran.values():
            runs.append(run)
            ends = "  ".join(f"{w}: {v[0]:.3f} -> {v[-1]:.3f}" for w, v in run["widths"].items())
            print(f"{run['name']:46} {ends}")

    document = {
        "source": "microsoft/mup",
        "versions": versions(torch, mup_version()),
        "settings": vars(args) | {"out": None},
        "optimizers": {n: {"constructor": c} | s for n, (c, s) in OPTIMIZERS.items()},
        "columns": COLUMNS,
        "variants": variants,
        "runs": runs,
    }
    save(args.out, document, tensors)


if __name__ == "__main__":
    main()

"""Whole networks in PyTorch's functions: outputs and gradients of transformers, vision transformers,
residual and plain convolutional networks in many settings.

python architectures.py --seed 6 --out architectures

Parameters have the program's names and PyTorch's layout (linear `[out, in]`, filters `[out, in, height,
width]`, tables `[rows, width]`); gradients are those of sum(output * g).
"""

import argparse
import math

import torch
from torch.nn import functional as F

from common import array, repeatable, save, versions
from transformer import attention, rope


class Params:
    """Parameters that come into being when they are used for the first time."""

    training = False

    def __init__(self, rng):
        self.rng, self.all = rng, {}

    def weight(self, name, *shape):
        """A matrix or filters."""
        fan_in = math.prod(shape[1:])
        return self.make(name, self.rng.standard_normal(shape) / math.sqrt(fan_in))

    def vector(self, name, size, around=0.0):
        """A bias, gain or shift."""
        return self.make(name, around + 0.3 * self.rng.standard_normal(size))

    def table(self, name, rows, width):
        return self.make(name, self.rng.standard_normal((rows, width)))

    def make(self, name, values):
        return self.all.setdefault(name, torch.from_numpy(values).requires_grad_())

    def linear(self, name, x, outputs, bias):
        weight = self.weight(f"{name}.weight", outputs, x.shape[-1])
        return F.linear(x, weight, self.vector(f"{name}.bias", outputs) if bias else None)

    def conv(self, name, x, outputs, kernel, stride=1, bias=False):
        weight = self.weight(f"{name}.weight", outputs, x.shape[1], *kernel)
        padding = [k // 2 for k in kernel]
        return F.conv2d(x, weight, self.vector(f"{name}.bias", outputs) if bias else None, stride, padding)

    def tied(self, name, x, table):
        """A readout that shares a table."""
        return F.linear(x, self.all[table])

    def running(self, name, channels):
        """Estimates of a batch norm's mean and variance."""
        mean = self.vector(f"{name}.running_mean", channels)
        return mean.detach(), self.make(f"{name}.running_var", 0.5 + self.rng.random(channels)).detach()


ACTIVATIONS = {
    "gelu": F.gelu, "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"), "silu": F.silu, "relu": F.relu,
    "tanh": torch.tanh,
}


def row_norm(p, name, x, kind):
    width = x.shape[-1]
    gain = p.vector(f"{name}.weight", width, 1.0)
    if kind == "rms":
        return F.rms_norm(x, (width,), gain, 1e-5)
    return F.layer_norm(x, (width,), gain, p.vector(f"{name}.bias", width), 1e-5)


def blocks(p, x, depth, heads, mlp_ratio, activation, gated, bias, norm, norm_position, qk_norm, positions, causal, scale, multiplier):
    width = x.shape[-1]
    size = width // heads
    pre, post = (lambda name, x, is_there=norm_position == where: row_norm(p, name, x, norm) if is_there else x for where in ("pre", "post"))
    for i in range(depth):
        path = f"blocks.{i}.attention"
        qkv = p.linear(f"{path}.qkv", pre(f"{path}.norm", x), 3 * width, bias)
        if qk_norm:
            parts = qkv.view(*qkv.shape[:-1], 3, heads, size)
            q, k = (F.rms_norm(parts[..., j, :, :], (size,), p.vector(f"{path}.qk_norm.{n}.weight", size, 1.0), 1e-5)
                    for j, n in enumerate(("query", "key")))
            qkv = torch.stack([q, k, parts[..., 2, :, :]], dim=-3).reshape(qkv.shape)
        if positions == "rope":
            qkv = rope(qkv, heads, 10_000.0, "halves")
        factor = {"1/d": 1 / size, "1/sqrt(d)": None}.get(scale, scale)
        branch = p.linear(f"{path}.out", attention(qkv, heads, causal, factor), width, bias)
        x = post(f"{path}.norm", x + multiplier * branch)
        path = f"blocks.{i}.mlp"
        hidden = round(mlp_ratio * width)
        h = p.linear(f"{path}.up", pre(f"{path}.norm", x), (2 if gated else 1) * hidden, bias)
        act = ACTIVATIONS[activation]
        h = act(h[..., :hidden]) * h[..., hidden:] if gated else act(h)
        x = post(f"{path}.norm", x + multiplier * p.linear(f"{path}.down", h, width, bias))
    return pre("norm", x)


def transformer(p, tokens, width, vocab, positions, tied=False, **settings):
    x = F.embedding(tokens, p.table("embedding.weight", vocab, width))
    if positions == "learned":
        x = x + p.table("positions.weight", tokens.shape[1], width)
    x = blocks(p, x, positions=positions, causal=True, **settings)
    return p.tied("readout", x, "embedding.weight") if tied else p.linear("readout", x, vocab, False)


def vit(p, images, width, patch, pool, outputs, positions, **settings):
    x = F.unfold(images, patch, stride=patch).transpose(1, 2)
    x = p.linear("embedding", x, width, True)
    if pool == "class_token":
        token = p.table("class_token.weight", 1, width)
        x = torch.cat([token.expand(x.shape[0], 1, width), x], dim=1)
    if positions == "learned":
        x = x + p.table("positions.weight", x.shape[1], width)
    x = blocks(p, x, positions=positions, causal=False, **settings)
    x = x[:, 0] if pool == "class_token" else x.mean(1)
    return p.linear("readout", x, outputs, True)


def image_norm(p, name, x, kind):
    if kind == "none":
        return x
    channels = x.shape[1]
    gain, shift = p.vector(f"{name}.weight", channels, 1.0), p.vector(f"{name}.bias", channels)
    if kind == "batch":
        return F.batch_norm(x, *p.running(name, channels), gain, shift, p.training, 0.1, 1e-5)
    return F.group_norm(x, {"layer": 1, "group": 2}.get(kind, kind), gain, shift, 1e-5)


def resnet(p, x, width, blocks, bottleneck, stem, norm, multiplier, outputs):
    if stem == "imagenet":
        x = p.conv("stem", x, width, (7, 7), 2)
    else:
        x = p.conv("stem", x, width, (3, 3))
    x = F.relu(image_norm(p, "stem.norm", x, norm))
    if stem == "imagenet":
        x = F.max_pool2d(x, 3, 2, 1)
    for stage, count in enumerate(blocks):
        for i in range(count):
            path, inner, stride = f"stages.{stage}.{i}", width * 2**stage, 2 if stage > 0 and i == 0 else 1
            last = 4 * inner if bottleneck else inner
            convs = [(inner, 1, 1), (inner, 3, stride), (last, 1, 1)] if bottleneck else [(inner, 3, stride), (last, 3, 1)]
            h = x
            for j, (channels, kernel, step) in enumerate(convs, 1):
                h = image_norm(p, f"{path}.norm{j}", p.conv(f"{path}.conv{j}", h, channels, (kernel, kernel), step), norm)
                h = F.relu(h) if j < len(convs) else h
            if stride != 1 or x.shape[1] != last:
                x = image_norm(p, f"{path}.shortcut.norm", p.conv(f"{path}.shortcut.conv", x, last, (1, 1), stride), norm)
            x = F.relu(x + multiplier * h)
    return p.linear("readout", x.mean((2, 3)), outputs, True)


def cnn(p, x, width, depth, kernel, activation, norm, bias, downsample, double, flatten, outputs):
    for i in range(depth - 1):
        stride = 2 if downsample == "stride" and i > 0 else 1
        x = p.conv(f"layers.{i}", x, width * 2**i if double else width, kernel, stride, bias)
        x = ACTIVATIONS[activation](image_norm(p, f"layers.{i}.norm", x, norm))
        x = {"avg_pool": lambda: F.avg_pool2d(x, 2), "max_pool": lambda: F.max_pool2d(x, 2)}.get(downsample, lambda: x)()
    return p.linear("readout", x.flatten(1) if flatten else x.mean((2, 3)), outputs, True)


GPT2 = dict(depth=2, heads=3, mlp_ratio=4, activation="gelu_tanh", gated=False, bias=True, norm="layer",
            norm_position="pre", qk_norm=False, positions="learned", scale="1/sqrt(d)", multiplier=1.0)
RESNET = dict(width=2, blocks=[1, 1], bottleneck=False, stem="cifar", norm="group", multiplier=1.0, outputs=3)
CNN = dict(width=2, depth=3, kernel=(3, 3), activation="relu", norm="none", bias=True, downsample="avg_pool", double=True,
           flatten=False, outputs=3)
TOKENS, IMAGE = dict(width=12, vocab=11), dict(width=12, outputs=3)

CASES = {
    "transformer.post_norm": (transformer, GPT2 | TOKENS | dict(norm_position="post", activation="relu")),
    "transformer.llama": (transformer, GPT2 | TOKENS | dict(
        heads=2, mlp_ratio=8 / 3, activation="silu", gated=True, bias=False, norm="rms", positions="rope")),
    "transformer.qk_norm": (transformer, GPT2 | TOKENS | dict(qk_norm=True, scale="1/d", multiplier=0.5, mlp_ratio=1)),
    "vit.class_token": (vit, GPT2 | IMAGE | dict(patch=(4, 4), pool="class_token", activation="gelu")),
    "vit.mean": (vit, GPT2 | IMAGE | dict(
        patch=(2, 4), pool="mean", activation="gelu", gated=True, norm="rms", norm_position="post", positions="none", depth=1)),
    "resnet.bottleneck": (resnet, RESNET | dict(blocks=[1, 2], bottleneck=True, stem="imagenet")),
    "resnet.layer": (resnet, RESNET | dict(blocks=[1, 2, 1], norm="layer", multiplier=0.5)),
    "resnet.none": (resnet, RESNET | dict(norm="none")),
    "resnet.batch": (resnet, RESNET | dict(norm="batch")),
    "cnn.avg_pool": (cnn, CNN),
    "cnn.max_pool": (cnn, CNN | dict(downsample="max_pool", norm="group", activation="tanh", flatten=True, bias=False)),
    "cnn.stride": (cnn, CNN | dict(downsample="stride", norm="batch", kernel=(5, 3), double=False, depth=4)),
    "cnn.none": (cnn, CNN | dict(downsample="none", norm="layer", activation="gelu")),
    "transformer.tied": (transformer, GPT2 | TOKENS | dict(tied=True, depth=1)),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=6)
    parser.add_argument("--out", default="architectures")
    args = parser.parse_args()
    rng = repeatable(args.seed)
    tensors, cases = {}, {}
    for name, (network, settings) in CASES.items():
        p = Params(rng)
        if network is transformer:
            x = torch.from_numpy(rng.integers(0, settings["vocab"], (2, 5)))
        else:
            x = torch.from_numpy(rng.standard_normal((2, 3, 8, 12) if network is vit else (2, 3, 9, 10)))
        output = network(p, x, **settings)
        g = rng.standard_normal(tuple(output.shape))
        (output * torch.from_numpy(g)).sum().backward()
        tensors |= {f"{name}.x": array(x.double()), f"{name}.output": array(output), f"{name}.g": g}
        for path, value in p.all.items():
            tensors[f"{name}.params.{path}"] = array(value)
            if value.grad is not None:
                tensors[f"{name}.grad.{path}"] = array(value.grad)
        cases[name] = {"settings": settings, "parameters": sorted(p.all)}
    document = {
        "source": "torch.nn.functional",
        "versions": versions(torch),
        "settings": {"seed": args.seed},
        "cases": cases,
    }
    save(args.out, document, tensors)


if __name__ == "__main__":
    main()

"""Attention, rotary positions, embedding and a whole decoder transformer of PyTorch, with gradients.

python transformer.py --seed 4 --out transformer

Gradients of single operations are those of sum(output * g), those of the transformer of its loss.
"""

import argparse

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from common import array, labels, repeatable, save, versions


def attention(qkv, heads, causal, scale):
    """Queries, keys and values side by side, `[batch, positions, 3 * heads * size]`."""
    batch, positions, width = qkv.shape
    q, k, v = qkv.view(batch, positions, 3, heads, -1).permute(2, 0, 3, 1, 4)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale)
    return y.transpose(1, 2).reshape(batch, positions, width // 3)


def rope(qkv, heads, base, pairs):
    """Turns queries and keys: `halves` as transformers' Llama, `adjacent` as Meta's (complex numbers)."""
    batch, positions, width = qkv.shape
    x = qkv.view(batch, positions, 3, heads, -1)
    size = x.shape[-1]
    frequencies = base ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
    angles = torch.outer(torch.arange(positions, dtype=torch.float64), frequencies)[:, None, None, :]
    if pairs == "halves":
        cos, sin = (torch.cat([f(angles)] * 2, dim=-1) for f in (torch.cos, torch.sin))
        rotated = torch.cat([-x[..., size // 2:], x[..., :size // 2]], dim=-1)
        turned = x * cos + rotated * sin
    else:
        numbers = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
        turned = torch.view_as_real(numbers * torch.polar(torch.ones_like(angles), angles)).flatten(-2)
    return torch.cat([turned[:, :, :2], x[:, :, 2:]], dim=2).reshape(qkv.shape)


class Branch(nn.Module):
    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)


class Transformer(nn.Module):
    """The decoder of the peer benchmark, with the program's names."""

    def __init__(self, vocab, width, context, depth, head_size, positions):
        super().__init__()
        self.heads, self.rope = width // head_size, positions == "rope"
        self.embedding = nn.Embedding(vocab, width)
        self.positions = None if self.rope else nn.Embedding(context, width)
        self.blocks = nn.ModuleList(
            Branch(
                attention=Branch(norm=nn.LayerNorm(width), qkv=nn.Linear(width, 3 * width), out=nn.Linear(width, width)),
                mlp=Branch(norm=nn.LayerNorm(width), up=nn.Linear(width, 4 * width), down=nn.Linear(4 * width, width)),
            )
            for _ in range(depth)
        )
        self.norm, self.readout = nn.LayerNorm(width), nn.Linear(width, vocab, bias=False)

    def forward(self, tokens):
        x = self.embedding(tokens)
        if self.positions is not None:
            x = x + self.positions.weight[:tokens.shape[1]]
        for block in self.blocks:
            a, m = block.attention, block.mlp
            qkv = a.qkv(a.norm(x))
            if self.rope:
                qkv = rope(qkv, self.heads, 10_000.0, "halves")
            x = x + a.out(attention(qkv, self.heads, True, None))
            x = x + m.down(F.gelu(m.up(m.norm(x)), approximate="tanh"))
        return self.readout(self.norm(x))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--out", default="transformer")
    args = parser.parse_args()
    rng = repeatable(args.seed)
    tensors, cases, models = {}, {}, {}

    def operation(name, function, x, **settings):
        x = torch.from_numpy(x).requires_grad_()
        output = function(x)
        g = torch.from_numpy(rng.standard_normal(tuple(output.shape)))
        (output * g).sum().backward()
        for part, value in {"x": x, "output": output, "g": g, "grad": x.grad}.items():
            tensors[f"{name}.{part}"] = array(value)
        cases[name] = settings

    for batch, positions, heads, size in [(2, 7, 3, 4), (1, 1, 1, 5), (1, 35, 2, 9)]:
        for causal in [True, False]:
            for scale in [1 / size, size**-0.5]:
                kind = "causal" if causal else "full"
                operation(f"attention.{kind}.{batch}x{positions}x{heads}x{size}.{scale:.3f}",
                          lambda x: attention(x, heads, causal, scale), rng.standard_normal((batch, positions, 3 * heads * size)),
                          heads=heads, head_size=size, causal=causal, scale=scale)
    for pairs in ["adjacent", "halves"]:
        for batch, positions, heads, size, base in [(2, 5, 3, 4, 10_000.0), (1, 9, 1, 2, 100.0), (1, 3, 2, 10, 500.0)]:
            operation(f"rope.{pairs}.{batch}x{positions}x{heads}x{size}", lambda x: rope(x, heads, base, pairs),
                      rng.standard_normal((batch, positions, 3 * heads * size)),
                      heads=heads, head_size=size, pairs=pairs, base=base)

    for positions in ["learned", "rope"]:
        sizes = {"vocab": 11, "width": 12, "context": 7, "depth": 2, "head_size": 4}
        model = Transformer(**sizes, positions=positions)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.from_numpy(rng.standard_normal(tuple(parameter.shape))))
        tokens, classes = (rng.integers(0, sizes["vocab"], (3, sizes["context"])) for _ in range(2))
        outputs = model(torch.from_numpy(tokens))
        loss = F.cross_entropy(outputs.flatten(0, 1), torch.from_numpy(classes).flatten())
        loss.backward()
        for name, parameter in model.named_parameters():
            tensors[f"{positions}.{name}"] = array(parameter)
            tensors[f"{positions}.grad.{name}"] = array(parameter.grad)
        tensors |= {f"{positions}.tokens": labels(tokens), f"{positions}.classes": labels(classes),
                    f"{positions}.outputs": array(outputs)}
        models[positions] = sizes | {"loss": loss.item()}

    document = {"source": "torch.nn", "versions": versions(torch), "settings": {"seed": args.seed},
                "cases": cases, "models": models}
    save(args.out, document, tensors)


if __name__ == "__main__":
    main()

"""What unit-scaling's u-muP makes of the parameters of a transformer: Adam's learning rates, forward multipliers, and how much
each residual branch adds in comparison with the embedding.

python u_mup.py --widths 16,64 --layers 1,4 --vocab 9 --out u_mup
"""

import argparse
import importlib.metadata

import torch
import unit_scaling as uu
from torch import nn
from unit_scaling.optim import lr_scale_func_adam

from common import save, versions


def multiplier(function, plain, weight):
    """What a function of unit scaling multiplies by, on top of PyTorch's."""
    x = torch.randn(3, weight.shape[1], dtype=torch.float64)
    ratio = function(x, weight, None) / plain(x, weight, None)
    torch.testing.assert_close(ratio, ratio[0, 0].expand_as(ratio))
    return float(ratio[0, 0])


def rows(model):
    """One row per parameter: what it is, its fan-in, learning rate and multiplier."""
    found = []
    for name, p in model.named_parameters():
        weight = p.data.double()
        branch = name.startswith("layers.")
        if name.startswith("embedding"):
            kind, fan_in, times = "embedding", 1, 1.0
        elif p.mup_type == "output":
            kind, fan_in = "readout", p.shape[1]
            times = multiplier(uu.functional.linear_readout, nn.functional.linear, weight)
        elif p.mup_type == "norm":
            kind, fan_in, times = "norm", 1, 1.0
        else:
            kind, fan_in = "weight", p.shape[1]
            times = multiplier(uu.functional.linear, nn.functional.linear, weight)
        found.append({
            "name": name, "kind": kind, "in_branch": branch, "fan_in": fan_in, "lr": float(lr_scale_func_adam(p)),
            "multiplier": times,
        })
    return found


def branches(layers):
    """The size of each branch of the stream, in units of the embedding's, without the norm that is kept at 1."""
    tau = uu.transformer_residual_scaling_rule()
    stream, found = 1.0, []
    for i in range(2 * layers):
        added = tau(i, 2 * layers) * stream
        found.append(added)
        stream = (stream**2 + added**2) ** 0.5
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = lambda text: [int(n) for n in text.split(",")]
    parser.add_argument("--widths", type=numbers, default=[16, 64])
    parser.add_argument("--layers", type=numbers, default=[1, 4])
    parser.add_argument("--vocab", type=int, default=9)
    parser.add_argument("--out", default="u_mup")
    args = parser.parse_args()
    torch.manual_seed(1)
    cases = []
    for width in args.widths:
        for layers in args.layers:
            model = uu.TransformerDecoder(hidden_size=width, vocab_size=args.vocab, layers=layers, heads=2)
            cases.append({"width": width, "layers": layers, "rows": rows(model), "branches": branches(layers)})
    document = {
        "source": "unit-scaling",
        "versions": versions(torch) | {"unit-scaling": importlib.metadata.version("unit_scaling")},
        "settings": {"vocab": args.vocab},
        "cases": cases,
    }
    save(args.out, document, {"none": torch.zeros(1).numpy()})


if __name__ == "__main__":
    main()

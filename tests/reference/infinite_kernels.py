"""Kernels of infinitely wide perceptrons from neural-tangents.

python infinite_kernels.py --seed 3 --out infinite_kernels

Needs jax and neural-tangents (requirements-neural-tangents.txt), and neither torch nor common.py.
"""

import argparse
import json
import platform
from pathlib import Path

import jax
import numpy as np
from safetensors.numpy import save_file

jax.config.update("jax_enable_x64", True)

import neural_tangents as nt  # noqa: E402  (after x64)
from neural_tangents import stax  # noqa: E402

FIXTURES = Path(__file__).resolve().parent / "fixtures"
CASES = [
    {"activation": "relu", "depth": 1, "weight_std": 1.3, "bias_std": 0.4},
    {"activation": "relu", "depth": 2, "weight_std": 1.0, "bias_std": None},
    {"activation": "relu", "depth": 4, "weight_std": 1.5, "bias_std": 0.3},
    {"activation": "erf", "depth": 2, "weight_std": 1.2, "bias_std": None},
    {"activation": "erf", "depth": 4, "weight_std": 1.4, "bias_std": 0.5},
]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--out", default="infinite_kernels")
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    x, y = rng.standard_normal((5, 6)), rng.standard_normal((4, 6))
    y[0] = -x[0]
    tensors = {"x": x, "y": y}
    for i, case in enumerate(CASES):
        dense = lambda: stax.Dense(7, W_std=case["weight_std"], b_std=case["bias_std"], parameterization="ntk")
        act = stax.Relu if case["activation"] == "relu" else stax.Erf
        layers = [layer for _ in range(case["depth"] - 1) for layer in (dense(), act())] + [dense()]
        kernel = stax.serial(*layers)[2]
        for name, other in (("same", None), ("between", y)):
            found = kernel(x, other, ("nngp", "ntk"))
            tensors[f"{i}.{name}.nngp"] = np.array(found.nngp, dtype=np.float64, order="C")
            tensors[f"{i}.{name}.ntk"] = np.array(found.ntk, dtype=np.float64, order="C")
    document = {
        "source": "neural_tangents.stax",
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "jax": jax.__version__,
                     "neural_tangents": nt.__version__},
        "settings": {"seed": args.seed},
        "cases": CASES,
    }
    out = Path(args.out)
    out = FIXTURES / out if out.parent == Path(".") else out
    out.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")
    save_file(dict(sorted(tensors.items())), out.with_suffix(".safetensors"))
    out.with_suffix(".safetensors").chmod(0o644)


if __name__ == "__main__":
    main()

"""What the generators share: where fixtures go, how they are written, and repeatable torch.

A fixture NAME is two files: NAME.json (settings, scalars, lists) and NAME.safetensors (tensors,
float64, and class labels as uint32). README.md describes the keys.
"""

import json
import platform
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

FIXTURES = Path(__file__).resolve().parent / "fixtures"


def repeatable(seed):
    """Float64 on one thread, so that the same command writes the same bytes."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
    return np.random.default_rng(seed)


def array(tensor):
    """A copy of a torch tensor or number list as a contiguous float64 array."""
    if isinstance(tensor, torch.Tensor):
        tensor = tensor.detach().numpy()
    return np.array(tensor, dtype=np.float64, order="C")  # a copy: optimizers update in place


def labels(tensor):
    """Class numbers as uint32, the type that candle uses for them."""
    return np.ascontiguousarray(tensor, dtype=np.uint32)


def versions(*modules):
    """The versions a fixture was made with."""
    found = {"python": platform.python_version(), "numpy": np.__version__}
    for module in modules:
        found[module.__name__] = module.__version__.split("+")[0]
    return found


def save(out, document, tensors):
    """Writes `out`.json and `out`.safetensors; a bare name goes to the folder of fixtures."""
    out = Path(out)
    if out.parent == Path("."):
        out = FIXTURES / out
    out.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, indent=1, allow_nan=False)
    out.with_suffix(".json").write_text(compact(text) + "\n")
    save_file(dict(sorted(tensors.items())), out.with_suffix(".safetensors"))
    out.with_suffix(".safetensors").chmod(0o644)
    size = sum(out.with_suffix(s).stat().st_size for s in (".json", ".safetensors"))
    print(f"{out.with_suffix('.json').name} + .safetensors: {size / 1024:.0f} KiB, {len(tensors)} tensors")


def compact(text):
    """JSON with each innermost list of numbers on one line."""
    lines, pending = [], None
    for line in text.split("\n"):
        if pending is not None:
            pending.append(line.strip())
            if line.strip().startswith("]"):
                lines.append(" ".join(pending))
                pending = None
            elif line.rstrip().endswith(("[", "{")):
                lines.extend([pending[0]] + [x for x in pending[1:-1]])
                lines.append(line)
                pending = None
                if line.rstrip().endswith("["):
                    pending = [lines.pop()]
        elif line.rstrip().endswith("["):
            pending = [line]
        else:
            lines.append(line)
    return "\n".join(lines)

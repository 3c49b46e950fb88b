"""A residual network with batch normalisation, trained for some steps in PyTorch.

python batch_norm_training.py --seed 5 --out batch_norm_training

Weight decay, momentum and clipping are on: none of them may touch running estimates.
"""

import argparse

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from common import array, labels, repeatable, save, versions
from conv import ResNet18


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--out", default="batch_norm_training")
    args = parser.parse_args()
    rng = repeatable(args.seed)
    settings = {"seed": args.seed, "steps": args.steps, "batch": 5, "image": [3, 8, 7], "width": 2, "outputs": 3,
                "lr": 0.2, "momentum": 0.9, "weight_decay": 0.01, "clip": 0.5}

    net = ResNet18(settings["width"], nn.BatchNorm2d, settings["outputs"])
    name = lambda n: n.replace("stem_norm", "stem.norm")
    state = lambda: {name(n): array(v) for n, v in net.state_dict().items() if "num_batches" not in n}
    tensors = {f"start.{n}": v for n, v in state().items()}

    # numbers that f32 holds: streams give inputs in f32
    shape = (args.steps, settings["batch"], *settings["image"])
    inputs = rng.standard_normal(shape).astype(np.float32).astype(np.float64)
    classes = rng.integers(0, settings["outputs"], shape[:2])
    tensors |= {"inputs": inputs, "classes": labels(classes)}

    optimizer = torch.optim.SGD(net.parameters(), lr=settings["lr"], momentum=settings["momentum"], weight_decay=settings["weight_decay"])
    losses = []
    for x, c in zip(torch.from_numpy(inputs), torch.from_numpy(classes)):
        loss = F.cross_entropy(net(x), c)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), settings["clip"])
        optimizer.step()
        losses.append(loss.item())

    net.eval()
    with torch.no_grad():
        outputs = net(torch.from_numpy(inputs[-1]))
    kept = lambda n: "running" in n or "readout" in n
    tensors |= {f"end.{n}": v for n, v in state().items() if kept(n)} | {"outputs": array(outputs)}
    document = {
        "source": "torch.nn.BatchNorm2d",
        "versions": versions(torch),
        "settings": settings,
        "losses": losses,
        "evaluation_loss": F.cross_entropy(outputs, torch.from_numpy(classes[-1])).item(),
    }
    save(args.out, document, tensors)


if __name__ == "__main__":
    main()

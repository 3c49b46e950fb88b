"""How hard `synthetic_images` is: trains softmax regression and ReLU networks on it in PyTorch.

    mkdir pixels
    WIDTHWISE_DUMP=$PWD/pixels cargo test --lib dump_for_the_measurement -- --ignored
    python tests/reference/data/synthetic_images.py pixels

Default settings, seed 7, batch 128, one pass, SGD with momentum 0.9, PyTorch's own initial values
(seed 0); cross-entropy and accuracy on 4,096 images. At width 256, 0.02 is the best learning rate up to
step 2,000 of 0.01, 0.02, 0.03, 0.05 and 0.1. Prints the lines of the table in the documentation of
`src/data/synthetic_images.rs`; takes some minutes.
"""

import sys

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

BATCH = 128
MARKS = (250, 500, 1000, 2000, 4000)
MEAN, STD = 0.507, 0.183


def load(folder, part):
    pixels = np.memmap(f"{folder}/{part}_inputs.bin", np.uint8, "r").reshape(-1, 3072)
    labels = np.fromfile(f"{folder}/{part}_labels.bin", np.uint8).astype(np.int64)
    return pixels, torch.from_numpy(labels)


def floats(pixels):
    return (torch.from_numpy(np.array(pixels)).float() / 255 - MEAN) / STD


def network(width):
    torch.manual_seed(0)
    if width is None:
        return nn.Linear(3072, 10)
    return nn.Sequential(
        nn.Linear(3072, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10)
    )


def main(folder):
    pixels, labels = load(folder, "train")
    test_pixels, test_labels = load(folder, "test")
    test_inputs = floats(test_pixels)
    runs = [(None, 5e-4)] + [(width, 0.02) for width in (64, 128, 256, 512)] + [(256, 0.01), (256, 0.03)]
    for width, lr in runs:
        net = network(width)
        optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9)
        found = []
        for step in range(1, MARKS[-1] + 1):
            rows = slice((step - 1) * BATCH, step * BATCH)
            loss = F.cross_entropy(net(floats(pixels[rows])), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step in MARKS:
                with torch.no_grad():
                    logits = net(test_inputs)
                    loss = F.cross_entropy(logits, test_labels).item()
                    right = (logits.argmax(1) == test_labels).float().mean().item()
                found.append(f"{loss:.3f} ({100 * right:.1f} %)")
        name = "softmax regression" if width is None else f"width {width}"
        print(f"| {name}, lr {lr:g} | {' | '.join(found)} |", flush=True)


main(sys.argv[1])

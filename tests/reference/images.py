"""Decoded, resized and cropped images of Pillow and torchvision.

python images.py --seed 11 --out images

Files go to the folder OUT beside the fixture. Pictures are smooth with edges, as photographs are.
"""

import argparse
from pathlib import Path

import numpy as np
import PIL
import torchvision
from PIL import Image
from torchvision.transforms import functional as F

from common import FIXTURES, save, versions

FILES = {
    "colour.jpg": ("RGB", dict(quality=85, subsampling="4:2:0")),
    "full_chroma.jpg": ("RGB", dict(quality=90, subsampling="4:4:4")),
    "progressive.jpg": ("RGB", dict(quality=85, progressive=True)),
    "grey.jpg": ("L", dict(quality=85)),
    "cmyk.jpg": ("CMYK", dict(quality=85)),
    "colour.png": ("RGB", {}),
    "alpha.png": ("RGBA", {}),
    "grey.png": ("L", {}),
    "grey_alpha.png": ("LA", {}),
    "palette.png": ("P", {}),
}
SIZES = {"colour.jpg": (61, 47), "colour.png": (75, 52), "grey.png": (20, 29)}
CENTRES = [(32, 1.0), (24, 8 / 7), (8, 1.0), (52, 1.0), (96, 1.25)]
CROPS = [(3, 5, 20, 31, 32), (0, 0, 52, 75, 16), (10, 7, 9, 12, 24)]


def picture(rng, width, height):
    y, x = np.mgrid[:height, :width]
    channels = []
    for _ in range(3):
        a, b, c = rng.uniform(0.02, 0.2, 3)
        channel = 128 + 70 * np.sin(a * x + 3 * c) * np.cos(b * y) + 0.5 * (x - y)
        channel[(x - width / 3) ** 2 + (y - height / 2) ** 2 < (height / 4) ** 2] += rng.uniform(-90, 90)
        channels.append(channel + rng.normal(0, 4, channel.shape))
    return Image.fromarray(np.clip(np.stack(channels, -1), 0, 255).astype(np.uint8))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--out", default="images")
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    folder = Path(args.out)
    if folder.parent == Path("."):
        folder = FIXTURES / folder
    folder.mkdir(parents=True, exist_ok=True)
    tensors, files = {}, {}
    for name, (mode, options) in FILES.items():
        image = picture(rng, *SIZES.get(name, (40, 33)))
        if mode.endswith("A"):
            alpha = Image.fromarray(rng.integers(0, 256, image.size[::-1], dtype=np.uint8))
            image = image.convert(mode[:-1])
            image.putalpha(alpha)
        image.convert(mode).save(folder / name, **options)
        decoded = Image.open(folder / name).convert("RGB")
        tensors[f"decoded.{name}"] = np.array(decoded)
        files[name] = {"mode": Image.open(folder / name).mode}
        if name in ("colour.png", "grey.png"):
            for size, ratio in CENTRES:
                centre = F.center_crop(F.resize(decoded, round(size * ratio)), size)
                tensors[f"centre.{name}.{size}"] = np.array(centre)
        if name == "colour.png":
            for i, (top, left, height, width, size) in enumerate(CROPS):
                tensors[f"crop.{i}"] = np.array(F.resized_crop(decoded, top, left, height, width, [size, size]))
    document = {
        "versions": versions(PIL, torchvision),
        "files": files,
        "centres": [{"size": s, "ratio": r} for s, r in CENTRES],
        "crops": [dict(zip(("top", "left", "height", "width", "size"), c)) for c in CROPS],
    }
    save(args.out, document, tensors)


if __name__ == "__main__":
    main()

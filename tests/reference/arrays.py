"""An archive of arrays as numpy writes it, in both orders, one of them compressed.

python arrays.py --out fixtures/arrays
"""

import argparse

import numpy as np


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="fixtures/arrays")
    args = parser.parse_args()
    images = np.arange(6, dtype="<u2").reshape(2, 3)
    # a transposed array is in Fortran's order
    np.savez(args.out + ".npz", images=images, turned=images.T, half=np.array([0.5, -1.5], "<f2"))


if __name__ == "__main__":
    main()

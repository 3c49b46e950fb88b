#!/bin/sh
# Writes every fixture again: PYTHON=python3 tests/reference/generate.sh
set -eu
cd "$(dirname "$0")"
for generator in mup_training optimizers matrix_optimizers layers conv batch_norm_training transformer architectures mup_architectures metrics ntk curvature representations kernels u_mup images arrays; do
    "${PYTHON:-python3}" "$generator.py"
done
# neural-tangents needs older packages: requirements-neural-tangents.txt
"${PYTHON_NEURAL_TANGENTS:-${PYTHON:-python3}}" infinite_kernels.py

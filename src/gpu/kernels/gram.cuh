// What kernels of networks (NTKs) need beside products.
#pragma once
#include "common.cuh"

// signals [n, width] = 1 in column `column`, else 0: what the gradient of one output is at the output.
template <class S> struct one_hot {
    S* signals;
    i64 n;
    i64 width;
    i64 column;
    DEVICE void run() const {
        int width = (int)this->width;
        for (i64 row = blockIdx.x; row < n; row += gridDim.x)
            for (int j = threadIdx.x; j < width; j += blockDim.x)
                signals[row * width + j] = S(j == column ? 1.0f : 0.0f);
    }
};
EXPORT(one_hot)

// to += factor a ∘ b, of n numbers.
template <class S> struct hadamard_add {
    const S* a;
    const S* b;
    S* to;
    i64 n;
    double factor;
    DEVICE void run() const {
        S f = S(factor);
        for (i64 i = first_index(); i < n; i += index_step()) to[i] += f * a[i] * b[i];
    }
};
EXPORT_ARITH(hadamard_add)

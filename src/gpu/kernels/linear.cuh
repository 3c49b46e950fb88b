// What linear layers do beside products.
#pragma once
#include "common.cuh"

// y [rows, columns] += multiplier bias [columns].
template <class S> struct bias_add {
    typedef typename Arith<S>::T A;
    const A* bias;
    i64 bias_stride;
    S* y;
    i64 y_stride;
    i64 rows;
    i64 columns;
    double multiplier;
    DEVICE void run() const {
        const A* bias = this->bias + blockIdx.y * bias_stride;
        S* y = this->y + blockIdx.y * y_stride;
        A m = A(multiplier);
        int width = (int)columns;
        // a block takes whole rows one after another
        for (i64 row = blockIdx.x; row < rows; row += gridDim.x)
            for (int j = threadIdx.x; j < width; j += blockDim.x) {
                S* at = y + row * width + j;
                *at = S(A(*at) + m * bias[j]);
            }
    }
};
EXPORT(bias_add)

// sums [columns] = multiplier times the sum over rows of x [rows, columns] (plus `keep` times what is there).
// A block takes 32 columns; its warps take every eighth row.
template <class S> struct column_sums {
    typedef typename Arith<S>::T A;
    const S* x;
    i64 x_stride;
    A* sums;
    i64 sums_stride;
    i64 rows;
    i64 columns;
    double multiplier;
    double keep;
    DEVICE void run() const {
        const S* x = this->x + blockIdx.y * x_stride;
        A* sums = this->sums + blockIdx.y * sums_stride;
        SHARED(A, parts, 256);
        int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
        i64 column = (i64)blockIdx.x * WARP + lane;
        A sum = 0;
        if (column < columns)
            for (i64 row = warp; row < rows; row += warps) sum += A(x[row * columns + column]);
        parts[threadIdx.x] = sum;
        __syncthreads();
        if (warp == 0 && column < columns) {
            for (int i = 1; i < warps; i++) sum += parts[i * WARP + lane];
            A kept = keep == 0 ? A(0) : A(keep) * sums[column];
            sums[column] = A(multiplier) * sum + kept;
        }
    }
};
EXPORT_BLOCK(column_sums)

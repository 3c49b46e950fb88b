// Rotary positions.
#pragma once
#include "common.cuh"

// Cosine and sine of every position and pair, angles [positions, head_size / 2, 2]: position t turns pair i by
// t base^(-2 i / head_size). A block takes positions one after another.
template <class S> struct rope_angles {
    typedef typename Arith<S>::T A;
    A* angles;
    i64 positions;
    i64 head_size;
    double base;
    DEVICE void run() const {
        int pairs = (int)head_size / 2;
        for (i64 position = blockIdx.x; position < positions; position += gridDim.x)
            for (int pair = threadIdx.x; pair < pairs; pair += blockDim.x) {
                double angle = (double)position * pow(base, -2.0 * pair / (double)head_size);
                A* to = angles + (position * pairs + pair) * 2;
                to[0] = A(cos(angle));
                to[1] = A(sin(angle));
            }
    }
};
EXPORT(rope_angles)

// Turns queries and keys of x [rows, 3 width] by their position's angles and copies the values; `sign` -1 turns back.
// A block takes a row, with a thread for each pair.
template <class S> struct rope {
    typedef typename Arith<S>::T A;
    const A* angles;
    const S* x;
    i64 x_stride;
    S* y;
    i64 y_stride;
    i64 rows;
    i64 positions;
    i64 width;
    i64 head_size;
    i64 halves;
    double sign;
    DEVICE void run() const {
        const S* x = this->x + blockIdx.y * x_stride;
        S* y = this->y + blockIdx.y * y_stride;
        int width = (int)this->width, size = (int)head_size, half = size / 2;
        A turn = A(sign);
        for (i64 row = blockIdx.x; row < rows; row += gridDim.x) {
            const S* from = x + row * 3 * width;
            S* to = y + row * 3 * width;
            const A* at = angles + row % positions * size;
            for (int i = threadIdx.x; i < width; i += blockDim.x) {
                // a pair of the queries or keys
                int head = i / half, pair = i % half;
                A c = at[2 * pair], s = turn * at[2 * pair + 1];
                int first = head * size + (halves ? pair : 2 * pair);
                int second = first + (halves ? half : 1);
                A a = A(from[first]), b = A(from[second]);
                to[first] = S(a * c - b * s);
                to[second] = S(a * s + b * c);
            }
            for (int i = 2 * width + threadIdx.x; i < 3 * width; i += blockDim.x) to[i] = from[i];
        }
    }
};
EXPORT(rope)

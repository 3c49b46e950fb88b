// Class tokens, patches, pooling over positions.
#pragma once
#include "common.cuh"

// `length` numbers of each row, from `from_at` of rows at distance `from_row` to `to_at` of rows at distance `to_row`.
template <class S> struct copy_rows {
    const S* from;
    i64 from_stride;
    i64 from_row;
    i64 from_at;
    S* to;
    i64 to_stride;
    i64 to_row;
    i64 to_at;
    i64 rows;
    i64 length;
    DEVICE void run() const {
        const S* from = this->from + blockIdx.y * from_stride + from_at;
        S* to = this->to + blockIdx.y * to_stride + to_at;
        for (i64 row = blockIdx.x; row < rows; row += gridDim.x)
            for (i64 j = threadIdx.x; j < length; j += blockDim.x) to[row * to_row + j] = from[row * from_row + j];
    }
};
EXPORT(copy_rows)

// The first `width` numbers of each row [rows, size] of y = multiplier token [width].
template <class S> struct put_token {
    typedef typename Arith<S>::T A;
    const A* token;
    i64 token_stride;
    S* y;
    i64 y_stride;
    i64 rows;
    i64 size;
    i64 width;
    double multiplier;
    DEVICE void run() const {
        const A* token = this->token + blockIdx.y * token_stride;
        S* y = this->y + blockIdx.y * y_stride;
        for (i64 row = blockIdx.x; row < rows; row += gridDim.x)
            for (i64 j = threadIdx.x; j < width; j += blockDim.x) y[row * size + j] = S(A(multiplier) * token[j]);
    }
};
EXPORT(put_token)

// y [rows, width] = factor times the sum over positions of x [rows, positions, width]; a block takes a row.
template <class S> struct position_mean {
    typedef typename Arith<S>::T A;
    const S* x;
    i64 x_stride;
    S* y;
    i64 y_stride;
    i64 rows;
    i64 positions;
    i64 width;
    DEVICE void run() const {
        const S* x = this->x + blockIdx.y * x_stride;
        S* y = this->y + blockIdx.y * y_stride;
        A factor = A(1.0 / positions);
        for (i64 row = blockIdx.x; row < rows; row += gridDim.x)
            for (i64 j = threadIdx.x; j < width; j += blockDim.x) {
                A sum = 0;
                for (i64 p = 0; p < positions; p++) sum += A(x[(row * positions + p) * width + j]);
                y[row * width + j] = S(factor * sum);
            }
    }
};
EXPORT(position_mean)

// The transpose: gx [rows, positions, width] = gy [rows, width] / positions.
template <class S> struct position_spread {
    typedef typename Arith<S>::T A;
    const S* gy;
    i64 gy_stride;
    S* gx;
    i64 gx_stride;
    i64 rows;
    i64 positions;
    i64 width;
    DEVICE void run() const {
        const S* gy = this->gy + blockIdx.y * gy_stride;
        S* gx = this->gx + blockIdx.y * gx_stride;
        A factor = A(1.0 / positions);
        for (i64 row = blockIdx.x; row < rows; row += gridDim.x)
            for (i64 j = threadIdx.x; j < width; j += blockDim.x) {
                S g = S(factor * A(gy[row * width + j]));
                for (i64 p = 0; p < positions; p++) gx[(row * positions + p) * width + j] = g;
            }
    }
};
EXPORT(position_spread)

// Images [rows, channels, height, width] as patches [rows, patches, channels, h, w], or back. A block takes an
// image's channel.
template <class S> struct patches {
    const S* from;
    i64 from_stride;
    S* to;
    i64 to_stride;
    i64 rows;
    i64 channels;
    i64 height;
    i64 width;
    i64 h;
    i64 w;
    i64 back;
    DEVICE void run() const {
        const S* from = this->from + blockIdx.y * from_stride;
        S* to = this->to + blockIdx.y * to_stride;
        int width = (int)this->width, h = (int)this->h, w = (int)this->w, channels = (int)this->channels;
        int across = width / w, pixels = (int)height * width;
        for (i64 image = blockIdx.x; image < rows * channels; image += gridDim.x) {
            i64 row = image / channels;
            int channel = (int)(image % channels);
            for (int i = threadIdx.x; i < pixels; i += blockDim.x) {
                int y = i / width, x = i % width;
                int patch = (y / h) * across + x / w;
                i64 at = row * channels * pixels + ((i64)patch * channels + channel) * h * w + (y % h) * w + x % w;
                i64 in = image * pixels + i;
                if (back) to[in] = from[at];
                else to[at] = from[in];
            }
        }
    }
};
EXPORT(patches)

// Rows of a table by token, and learned positions.
#pragma once
#include "common.cuh"

// A token as a row of the table; -1 if it is none.
template <class A> DEVICE i64 token(A x, i64 vocab) {
    return x >= A(0) && x < A(vocab) && floor(x) == x ? (i64)x : -1;
}

// y [rows, width] = multiplier table [vocab, width] at the row's token; NaN for one that is not in the table. Tokens
// are at `whole` in the arithmetic type, or if that is null at `x`. A block takes rows one after another.
template <class S> struct embedding_forward {
    typedef typename Arith<S>::T A;
    const A* whole;
    const S* x;
    i64 x_stride;
    const A* table;
    i64 table_stride;
    S* y;
    i64 y_stride;
    i64 rows;
    i64 vocab;
    i64 width;
    double multiplier;
    DEVICE void run() const {
        const A* table = this->table + blockIdx.y * table_stride;
        S* y = this->y + blockIdx.y * y_stride;
        A m = A(multiplier);
        int width = (int)this->width;
        for (i64 row = blockIdx.x; row < rows; row += gridDim.x) {
            i64 at = blockIdx.y * x_stride + row;
            i64 found = token(whole ? whole[at] : A(x[at]), vocab);
            for (int j = threadIdx.x; j < width; j += blockDim.x)
                y[row * width + j] = S(found < 0 ? A(0) / A(0) : m * table[found * width + j]);
        }
    }
};
EXPORT(embedding_forward)

// The rows [rows] of each token in their order, one token after the other: those of token t are at
// order[starts[t]] up to order[starts[t + 1]]. A block takes `group` tokens, at most its threads, and looks at as many
// rows at a time as it has threads.
template <class S> struct embedding_sort {
    typedef typename Arith<S>::T A;
    const A* whole;
    const S* x;
    i64 x_stride;
    int* starts;
    i64 starts_stride;
    int* order;
    i64 order_stride;
    i64 rows;
    i64 vocab;
    i64 group;
    DEVICE void run() const {
        SHARED(int, which, 256);
        SHARED(int, where, 256);
        SHARED(int, found, 256 / WARP);
        int* starts = this->starts + blockIdx.y * starts_stride;
        int* order = this->order + blockIdx.y * order_stride;
        int me = threadIdx.x, lane = me % WARP, warp = me / WARP, warps = blockDim.x / WARP;
        i64 first = blockIdx.x * group;
        int before = 0, mine = 0, at = 0;
        // counts first, then writes
        for (int write = 0; write < 2; write++) {
            for (i64 start = 0; start < rows; start += blockDim.x) {
                i64 id = -1;
                if (start + me < rows) {
                    i64 place = blockIdx.y * x_stride + start + me;
                    id = token(whole ? whole[place] : A(x[place]), vocab);
                }
                if (!write) before += id >= 0 && id < first;
                // rows with a token of this block, side by side
                bool here = id >= first && id < first + group;
                unsigned all = __ballot_sync(0xffffffffu, here);
                if (lane == 0) found[warp] = __popc(all);
                __syncthreads();
                int slot = __popc(all & ((1u << lane) - 1)), count = 0;
                for (int w = 0; w < warps; w++) {
                    if (w < warp) slot += found[w];
                    count += found[w];
                }
                if (here) {
                    which[slot] = (int)(id - first);
                    where[slot] = (int)(start + me);
                }
                __syncthreads();
                if (me < group)
                    for (int i = 0; i < count; i++)
                        if (which[i] == me) {
                            if (write) order[at++] = where[i];
                            else mine++;
                        }
            }
            if (write) break;
            at = block_sum(before);
            which[me] = mine;
            __syncthreads();
            for (int i = 0; i < me && i < group; i++) at += which[i];
            if (me < group && first + me < vocab) {
                starts[first + me] = at;
                if (first + me == vocab - 1) starts[vocab] = at + mine;
            }
            __syncthreads();
        }
    }
};
EXPORT_BLOCK(embedding_sort)

// gradient [vocab, width] = multiplier times the sum of gy [rows, width] over rows with the token, in the order that
// embedding_sort found. A block takes 64 columns (z) of some tokens (x); each of its four parts every fourth row.
template <class S> struct embedding_gradient {
    typedef typename Arith<S>::T A;
    const int* starts;
    i64 starts_stride;
    const int* order;
    i64 order_stride;
    const S* gy;
    i64 gy_stride;
    A* gradient;
    i64 gradient_stride;
    i64 vocab;
    i64 width;
    double multiplier;
    DEVICE void run() const {
        SHARED(A, sums, 256);
        const int* starts = this->starts + blockIdx.y * starts_stride;
        const int* order = this->order + blockIdx.y * order_stride;
        const S* gy = this->gy + blockIdx.y * gy_stride;
        A* gradient = this->gradient + blockIdx.y * gradient_stride;
        int part = threadIdx.x / 64, parts = blockDim.x / 64;
        i64 column = (i64)blockIdx.z * 64 + threadIdx.x % 64;
        for (i64 token = blockIdx.x; token < vocab; token += gridDim.x) {
            int first = starts[token], end = starts[token + 1];
            A sum = 0;
            if (column < width)
                for (int i = first + part; i < end; i += parts) sum += A(gy[order[i] * width + column]);
            // one row needs no sum of parts; all threads agree on that
            if (end - first > 1) {
                sums[threadIdx.x] = sum;
                __syncthreads();
                if (part == 0)
                    for (int i = 1; i < parts; i++) sum += sums[i * 64 + threadIdx.x];
                __syncthreads();
            }
            if (part == 0 && column < width) gradient[token * width + column] = A(multiplier) * sum;
        }
    }
};
EXPORT_BLOCK(embedding_gradient)

// y [rows, size] = x [rows, size] (0 if it is null) + multiplier table [size]. Blocks along z share the rows.
template <class S> struct add_rows {
    typedef typename Arith<S>::T A;
    const S* x;
    i64 x_stride;
    const A* table;
    i64 table_stride;
    S* y;
    i64 y_stride;
    i64 rows;
    i64 size;
    double multiplier;
    DEVICE void run() const {
        const A* table = this->table + blockIdx.y * table_stride;
        S* y = this->y + blockIdx.y * y_stride;
        A m = A(multiplier);
        for (i64 i = first_index(); i < size; i += index_step()) {
            A t = m * table[i];
            for (i64 row = blockIdx.z; row < rows; row += gridDim.z) {
                i64 at = row * size + i;
                y[at] = S(x ? A(x[blockIdx.y * x_stride + at]) + t : t);
            }
        }
    }
};
EXPORT(add_rows)

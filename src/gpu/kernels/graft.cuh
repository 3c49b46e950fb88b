// The size of a matrix's step: a Frobenius norm, that of Adam's step, or a spectral norm.
#pragma once
#include "matrices.cuh"

// sums [blocks, 2]: of the squares of Adam's step and of the direction x. Adam's second moment takes the gradient first.
template <class A> struct graft_adam {
    MATRIX_FIELDS
    A* second;
    double* sums;
    DEVICE void run() const {
        MATRIX_PART
        A* second = this->second + (i64)at.member * at.size + at.start;
        double kept = at.scalars[GRAFT_KEPT], taken = at.scalars[GRAFT_TAKEN], eps = at.scalars[GRAFT_SIZE];
        double of_first = at.scalars[GRAFT_FIRST], of_second = at.scalars[GRAFT_SECOND];
        double wanted = 0, found = 0;
        for (int i = threadIdx.x; i < at.n; i += blockDim.x) {
            double g = (double)at.gradient(i), d = (double)x[place(i)];
            double square = kept * (double)second[i] + taken * g * g;
            second[i] = A(square);
            double step = (double)at.first[i] / of_first / (sqrt(square / of_second) + eps);
            wanted += step * step;
            found += d * d;
        }
        wanted = block_sum(wanted);
        found = block_sum(found);
        if (threadIdx.x == 0) {
            sums[2 * blockIdx.x] = wanted;
            sums[2 * blockIdx.x + 1] = found;
        }
    }
};
EXPORT_ARITH_BLOCK(graft_adam)

// factors [members]: Adam's norm over the direction's, from `each` pairs of sums. A block takes a member.
struct graft_ratio {
    const double* sums;
    i64 each;
    double* factors;
    DEVICE void run() const {
        const double* own = sums + 2 * (i64)blockIdx.y * each;
        double wanted = 0, found = 0;
        for (i64 i = threadIdx.x; i < each; i += blockDim.x) {
            wanted += own[2 * i];
            found += own[2 * i + 1];
        }
        wanted = block_sum(wanted);
        found = block_sum(found);
        // a direction of 0 stays as it is
        if (threadIdx.x == 0) factors[blockIdx.y] = found == 0 ? 0 : sqrt(wanted) / sqrt(found);
    }
};
ENTRY(graft_ratio_plain, graft_ratio, true)

// The power iteration of a direction x: from the vector that the last step left, or several times from a random one
// where that is 0. `image` has a number for each row, `vector` and `next` one for each column.
#define SPECTRAL_FIELDS     \
    const A* x;             \
    i64 rows;               \
    i64 columns;            \
    i64 block;              \
    A* vector;              \
    A* image;               \
    A* next;                \
    unsigned* fresh;        \
    const unsigned* active;

// Root of the sum of the squares of a vector, over a block.
template <class A> DEVICE double length_of(const A* v, i64 n) {
    double sum = 0;
    for (i64 i = threadIdx.x; i < n; i += blockDim.x) sum += (double)v[i] * (double)v[i];
    return sqrt(block_sum(sum));
}

// Whether the iteration begins; a block takes a member.
template <class A> struct spectral_begin {
    SPECTRAL_FIELDS
    const A* random;
    DEVICE void run() const {
        i64 member = blockIdx.y;
        if (!active[member]) return;
        A* vector = this->vector + member * columns;
        int other = 0;
        for (i64 i = threadIdx.x; i < columns; i += blockDim.x) other += vector[i] != A(0);
        bool begins = block_sum(other) == 0;
        if (begins)
            for (i64 i = threadIdx.x; i < columns; i += blockDim.x) vector[i] = random[i];
        if (threadIdx.x == 0) fresh[member] = begins;
    }
};
EXPORT_ARITH_BLOCK(spectral_begin)

// image = x vector, or x next over its length. A block takes 8 rows, a warp each.
template <class A> struct spectral_rows {
    SPECTRAL_FIELDS
    i64 turn;
    DEVICE void run() const {
        i64 member = blockIdx.y;
        if (!active[member] || (turn > 0 && !fresh[member])) return;
        const A* from = (turn > 0 ? next : vector) + member * columns;
        A length = turn > 0 ? A(length_of(from, columns)) : A(1);
        // a direction of 0 has the image that it had
        if (length == A(0)) return;
        const A* x = this->x + member * rows * columns;
        i64 row = (i64)blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
        if (row >= rows) return;
        int lane = threadIdx.x % WARP;
        A sum = 0;
        for (i64 j = lane; j < columns; j += WARP)
            sum += x[in_blocks(row * columns + j, rows, columns, block)] * (from[j] / length);
        sum = warp_sum(sum);
        if (lane == 0) image[member * rows + row] = sum;
    }
};
EXPORT_ARITH_BLOCK(spectral_rows)

// next = xᵀ image over the length of the image. A block takes 32 columns; its warps take every eighth row.
template <class A> struct spectral_columns {
    SPECTRAL_FIELDS
    i64 turn;
    DEVICE void run() const {
        SHARED(A, parts, 256);
        i64 member = blockIdx.y;
        if (!active[member] || (turn > 0 && !fresh[member])) return;
        const A* image = this->image + member * rows;
        double norm = length_of(image, rows);
        const A* x = this->x + member * rows * columns;
        int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
        i64 column = (i64)blockIdx.x * WARP + lane;
        A sum = 0;
        if (column < columns)
            for (i64 i = warp; i < rows; i += warps)
                sum += x[in_blocks(i * columns + column, rows, columns, block)] * image[i];
        parts[threadIdx.x] = sum;
        __syncthreads();
        if (warp == 0 && column < columns) {
            for (int i = 1; i < warps; i++) sum += parts[i * WARP + lane];
            next[member * columns + column] = norm == 0 ? A(0) : A(1 / norm) * sum;
        }
    }
};
EXPORT_ARITH_BLOCK(spectral_columns)

// factors [members]: the norm that the scalars want over that which was found; the vector goes on from here. A block
// takes a member.
template <class A> struct spectral_ratio {
    SPECTRAL_FIELDS
    const double* scalars;
    double* factors;
    DEVICE void run() const {
        i64 member = blockIdx.y;
        if (!active[member]) return;
        double norm = length_of(image + member * rows, rows), length = length_of(next + member * columns, columns);
        A* vector = this->vector + member * columns;
        const A* next = this->next + member * columns;
        for (i64 i = threadIdx.x; i < columns; i += blockDim.x) {
            // begin again when there is something to see
            if (norm == 0) vector[i] = A(0);
            else if (isfinite(norm) && length > 0) vector[i] = next[i] / A(length);
        }
        // a direction of 0 stays as it is
        if (threadIdx.x == 0) factors[member] = norm == 0 ? 0 : scalars[SCALARS * member + GRAFT_SIZE] / norm;
    }
};
EXPORT_ARITH_BLOCK(spectral_ratio)

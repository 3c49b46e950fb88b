// Shampoo and SOAP beside their products. The first state of a matrix is its first moment, the second, in SOAP, its
// second moment in the bases. What products are formed with, `x`, lies in blocks: a matrix's blocks of at most `block`
// rows and columns one after another, row of blocks by row of blocks.
#pragma once
#include "update.cuh"

// What the scalars are; `MatrixScalars` of the host has the same order.
enum MatrixScalar {
    FIRST_KEPT,
    FIRST_TAKEN,
    // what the first moment is multiplied by in the direction
    FIRST_FACTOR,
    MOMENTS_KEPT,
    MOMENTS_TAKEN,
    SECOND_KEPT,
    SECOND_TAKEN,
    SECOND_EPS,
    // minus the learning rate
    RATE,
    // what is kept of the weight before the step and after it
    KEPT_BEFORE,
    KEPT_AFTER,
    GRAFT_KEPT,
    GRAFT_TAKEN,
    // corrections of Adam's moments
    GRAFT_FIRST,
    GRAFT_SECOND,
    // Adam's epsilon, or the spectral norm
    GRAFT_SIZE,
};

// Where number `i` of a matrix lies in its blocks.
DEVICE i64 in_blocks(i64 i, i64 rows, i64 columns, i64 block) {
    if (block >= rows && block >= columns) return i;
    i64 row = i / columns, column = i % columns;
    i64 top = row / block * block, left = column / block * block;
    i64 tall = rows - top < block ? rows - top : block;
    i64 wide = columns - left < block ? columns - left : block;
    return top * columns + left * tall + (row - top) * wide + (column - left);
}

#define MATRIX_FIELDS \
    UPDATE_FIELDS     \
    A* x;             \
    i64 rows;         \
    i64 columns;      \
    i64 block;

// The part of a block of the launch, and where its numbers lie.
#define MATRIX_PART                                \
    UPDATE_PART                                    \
    A* x = this->x + (i64)at.member * at.size;     \
    auto place = [&](int i) { return in_blocks(at.start + i, rows, columns, block); };

// The gradient goes to x and into the first moment.
template <class A> struct matrix_gradient {
    MATRIX_FIELDS
    DEVICE void run() const {
        MATRIX_PART
        A kept = A(at.scalars[FIRST_KEPT]), taken = A(at.scalars[FIRST_TAKEN]);
        for (int i = threadIdx.x; i < at.n; i += blockDim.x) {
            A g = at.gradient(i);
            at.first[i] = fma(kept, at.first[i], taken * g);
            x[place(i)] = g;
        }
    }
};
EXPORT_ARITH(matrix_gradient)

// moments = kept moments + taken product, n numbers of each member.
template <class A> struct matrix_moments {
    A* moments;
    const A* product;
    i64 n;
    const double* scalars;
    const unsigned* active;
    DEVICE void run() const {
        i64 member = blockIdx.y;
        if (!active[member]) return;
        const double* scalars = this->scalars + SCALARS * member;
        A kept = A(scalars[MOMENTS_KEPT]), taken = A(scalars[MOMENTS_TAKEN]);
        A* moments = this->moments + member * n;
        const A* product = this->product + member * n;
        for (i64 i = first_index(); i < n; i += index_step()) moments[i] = fma(taken, product[i], kept * moments[i]);
    }
};
EXPORT_ARITH(matrix_moments)

// x is the first moment without its bias.
template <class A> struct shampoo_first {
    MATRIX_FIELDS
    DEVICE void run() const {
        MATRIX_PART
        A factor = A(at.scalars[FIRST_FACTOR]);
        for (int i = threadIdx.x; i < at.n; i += blockDim.x) x[place(i)] = factor * at.first[i];
    }
};
EXPORT_ARITH(shampoo_first)

// The gradient in the bases, x, goes into the second moment; the first moment comes to its place.
template <class A> struct soap_second {
    MATRIX_FIELDS
    DEVICE void run() const {
        MATRIX_PART
        A kept = A(at.scalars[SECOND_KEPT]), taken = A(at.scalars[SECOND_TAKEN]);
        for (int i = threadIdx.x; i < at.n; i += blockDim.x) {
            A* there = x + place(i);
            at.second[i] = fma(kept, at.second[i], taken * *there * *there);
            *there = at.first[i];
        }
    }
};
EXPORT_ARITH(soap_second)

// Adam's step from the first moment in the bases, x. Before there are bases it is 0.
template <class A> struct soap_direction {
    MATRIX_FIELDS
    DEVICE void run() const {
        MATRIX_PART
        A factor = A(at.scalars[FIRST_FACTOR]), eps = A(at.scalars[SECOND_EPS]);
        for (int i = threadIdx.x; i < at.n; i += blockDim.x) {
            A* there = x + place(i);
            *there = factor == A(0) ? A(0) : factor * *there / (sqrt(at.second[i]) + eps);
        }
    }
};
EXPORT_ARITH(soap_direction)

// A step along x, times each member's number of `factors` if there are any.
template <class A> struct matrix_step {
    MATRIX_FIELDS
    const double* factors;
    DEVICE void run() const {
        MATRIX_PART
        A rate = A(at.scalars[RATE] * (factors ? factors[at.member] : 1.0));
        A before = A(at.scalars[KEPT_BEFORE]), after = A(at.scalars[KEPT_AFTER]);
        for (int i = threadIdx.x; i < at.n; i += blockDim.x)
            at.p[i] = after * fma(rate, x[place(i)], before * at.p[i]);
    }
};
EXPORT_ARITH(matrix_step)

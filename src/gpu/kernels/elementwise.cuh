// Sums and copies.
#pragma once
#include "common.cuh"

// y = a x + b y (b = 0: y is not read), for `n` numbers of each member.
template <class S> struct scale_add {
    typedef typename Arith<S>::T A;
    const S* x;
    i64 x_stride;
    S* y;
    i64 y_stride;
    i64 n;
    double a;
    double b;
    DEVICE void run() const {
        const S* x = this->x + blockIdx.y * x_stride;
        S* y = this->y + blockIdx.y * y_stride;
        A a = A(this->a), b = A(this->b);
        for (i64 i = first_index(); i < n; i += index_step())
            y[i] = S(b == A(0) ? a * A(x[i]) : a * A(x[i]) + b * A(y[i]));
    }
};
EXPORT(scale_add)

// y = 0, `n` numbers of each member.
template <class S> struct fill_zero {
    S* y;
    i64 y_stride;
    i64 n;
    DEVICE void run() const {
        S* y = this->y + blockIdx.y * y_stride;
        for (i64 i = first_index(); i < n; i += index_step()) y[i] = S(0.0f);
    }
};
EXPORT(fill_zero)

// y = skip + multiplier branch.
template <class S> struct join_forward {
    typedef typename Arith<S>::T A;
    const S* skip;
    i64 skip_stride;
    const S* branch;
    i64 branch_stride;
    S* y;
    i64 y_stride;
    i64 n;
    double multiplier;
    DEVICE void run() const {
        const S* skip = this->skip + blockIdx.y * skip_stride;
        const S* branch = this->branch + blockIdx.y * branch_stride;
        S* y = this->y + blockIdx.y * y_stride;
        A m = A(multiplier);
        for (i64 i = first_index(); i < n; i += index_step()) y[i] = S(A(skip[i]) + m * A(branch[i]));
    }
};
EXPORT(join_forward)

// Numbers of the arithmetic type in the stored one: parameters for products in bf16.
template <class S> struct to_stored {
    typedef typename Arith<S>::T A;
    const A* x;
    i64 x_stride;
    S* y;
    i64 y_stride;
    i64 n;
    DEVICE void run() const {
        const A* x = this->x + blockIdx.y * x_stride;
        S* y = this->y + blockIdx.y * y_stride;
        for (i64 i = first_index(); i < n; i += index_step()) y[i] = S(x[i]);
    }
};
EXPORT(to_stored)

// Vectors of all members, each at `stride` numbers from the last member's: inner products, sums, multiples. A member
// whose word of `active` is 0 is left as it is.
#pragma once
#include "common.cuh"

// parts [members, blocks] = parts of the inner products of a and b (plus `keep` times what is there).
template <class A> struct vector_dot {
    const A* a;
    const A* b;
    i64 stride;
    i64 n;
    double* parts;
    double keep;
    DEVICE void run() const {
        i64 member = blockIdx.y;
        const A* a = this->a + member * stride;
        const A* b = this->b + member * stride;
        double sum = 0;
        for (i64 i = first_index(); i < n; i += index_step()) sum += (double)a[i] * (double)b[i];
        sum = block_sum(sum);
        if (threadIdx.x == 0) {
            double* to = parts + member * gridDim.x + blockIdx.x;
            *to = keep == 0 ? sum : sum + keep * *to;
        }
    }
};
EXPORT_ARITH_BLOCK(vector_dot)

// sums [members] of `count` parts each; a block takes a member.
struct vector_sums {
    const double* parts;
    i64 count;
    double* sums;
    DEVICE void run() const {
        double sum = 0;
        for (i64 i = threadIdx.x; i < count; i += blockDim.x) sum += parts[blockIdx.y * count + i];
        sum = block_sum(sum);
        if (threadIdx.x == 0) sums[blockIdx.y] = sum;
    }
};
ENTRY(vector_sums_plain, vector_sums, true)

// to −= s x, with s the sum of a member's `count` parts: what `to` has in common with x of length 1.
template <class A> struct vector_remove {
    const A* x;
    A* to;
    i64 stride;
    i64 n;
    const double* parts;
    i64 count;
    const unsigned* active;
    DEVICE void run() const {
        i64 member = blockIdx.y;
        if (!active[member]) return;
        double sum = 0;
        for (i64 i = threadIdx.x; i < count; i += blockDim.x) sum += parts[member * count + i];
        A factor = A(-block_sum(sum));
        const A* x = this->x + member * stride;
        A* to = this->to + member * stride;
        for (i64 i = first_index(); i < n; i += index_step()) to[i] = fma(factor, x[i], to[i]);
    }
};
EXPORT_ARITH_BLOCK(vector_remove)

// to = factors x, one factor for each member; 0 where that is 0.
template <class A> struct vector_scaled {
    const A* x;
    A* to;
    i64 stride;
    i64 n;
    const double* factors;
    DEVICE void run() const {
        i64 member = blockIdx.y;
        A factor = A(factors[member]);
        const A* x = this->x + member * stride;
        A* to = this->to + member * stride;
        for (i64 i = first_index(); i < n; i += index_step()) to[i] = factor == A(0) ? A(0) : factor * x[i];
    }
};
EXPORT_ARITH(vector_scaled)

// to = roots ∘ x, where a member has one root for all numbers or, if `each`, one for each.
template <class A> struct vector_rooted {
    const A* x;
    i64 x_stride;
    A* to;
    i64 to_stride;
    i64 n;
    const A* roots;
    i64 each;
    DEVICE void run() const {
        i64 member = blockIdx.y;
        const A* x = this->x + member * x_stride;
        A* to = this->to + member * to_stride;
        const A* roots = this->roots + (each ? member * n : member);
        for (i64 i = first_index(); i < n; i += index_step()) to[i] = (each ? roots[i] : roots[0]) * x[i];
    }
};
EXPORT_ARITH(vector_rooted)

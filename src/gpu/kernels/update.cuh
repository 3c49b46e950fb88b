// Optimizers over all parameters and members in one launch.
//
// `tensors` has ROW words for each parameter: where its numbers, its gradient and up to two states begin, how
// many numbers a member has, how many columns it has as a matrix, and which is its first block. `chunks` has three
// words for each block: which tensor, which member, the first number. Scalars change from step to step, and are read
// from memory so that a launch that was kept stays right: SCALARS doubles for each parameter and member.
#pragma once
#include "common.cuh"

// Numbers that a block updates.
#define UPDATE_CHUNK 2048
#define ROW 7
#define SCALARS 16

// The part of a parameter that a block updates.
template <class A> struct Part {
    A* p;
    const A* g;
    A* first;
    A* second;
    const double* scalars;
    int n;
    int member;
    int tensor;
    // the first number, and how many a member has
    i64 start, size;
    // a gradient, clipped
    A factor, limit;

    DEVICE A gradient(int i) const {
        A g = this->g[i] * factor;
        // NaN stays
        g = g > limit ? limit : g;
        return g < -limit ? -limit : g;
    }
};

template <class A>
DEVICE Part<A> part_of(const i64* tensors, const i64* chunks, const double* scalars, const double* clip,
                       double limit, i64 members) {
    const i64* chunk = chunks + 3 * (i64)blockIdx.x;
    i64 tensor = chunk[0], member = chunk[1], start = chunk[2];
    const i64* row = tensors + ROW * tensor;
    i64 size = row[4], at = member * size + start;
    Part<A> part;
    part.p = (A*)row[0] + at;
    part.g = (const A*)row[1] + at;
    part.first = row[2] ? (A*)row[2] + at : (A*)0;
    part.second = row[3] ? (A*)row[3] + at : (A*)0;
    part.scalars = scalars + SCALARS * (tensor * members + member);
    part.n = (int)(size - start < UPDATE_CHUNK ? size - start : UPDATE_CHUNK);
    part.member = (int)member;
    part.tensor = (int)tensor;
    part.start = start;
    part.size = size;
    part.factor = clip ? A(clip[member]) : A(1);
    part.limit = A(limit);
    return part;
}

#define UPDATE_FIELDS     \
    const i64* tensors;   \
    const i64* chunks;    \
    const double* scalars; \
    const unsigned* active; \
    const double* clip;   \
    double limit;         \
    i64 members;

#define UPDATE_PART                                                                          \
    Part<A> at = part_of<A>(tensors, chunks, scalars, clip, limit, members);                 \
    if (!active[at.member]) return;

// Scalars: −lr, momentum, weight decay, whether Nesterov.
template <class A> struct sgd {
    UPDATE_FIELDS
    DEVICE void run() const {
        UPDATE_PART
        A lr = A(at.scalars[0]), momentum = A(at.scalars[1]), decay = A(at.scalars[2]);
        bool nesterov = at.scalars[3] != 0;
        for (int i = threadIdx.x; i < at.n; i += blockDim.x) {
            A p = at.p[i], g = fma(decay, p, at.gradient(i));
            if (at.first) {
                A v = fma(momentum, at.first[i], g);
                at.first[i] = v;
                g = nesterov ? fma(momentum, v, g) : v;
            }
            at.p[i] = fma(g, lr, p);
        }
    }
};
EXPORT_ARITH(sgd)

// Scalars: beta1, 1 − beta1, beta2, 1 − beta2, eps, −lr / correction, 1 / root of the correction, decay of the
// gradient, what is kept of the weight.
template <class A> struct adam {
    UPDATE_FIELDS
    DEVICE void run() const {
        UPDATE_PART
        A beta1 = A(at.scalars[0]), rest1 = A(at.scalars[1]), beta2 = A(at.scalars[2]), rest2 = A(at.scalars[3]);
        A eps = A(at.scalars[4]), rate = A(at.scalars[5]), root = A(at.scalars[6]), l2 = A(at.scalars[7]);
        A keep = A(at.scalars[8]);
        for (int i = threadIdx.x; i < at.n; i += blockDim.x) {
            A p = at.p[i], g = fma(l2, p, at.gradient(i));
            A m = fma(beta1, at.first[i], rest1 * g);
            A v = fma(beta2, at.second[i], rest2 * g * g);
            at.first[i] = m;
            at.second[i] = v;
            at.p[i] = fma(keep, p, rate * m / fma(sqrt(v), root, eps));
        }
    }
};
EXPORT_ARITH(adam)

// Scalars: beta1, 1 − beta1, beta2, 1 − beta2, −lr, what is kept of the weight.
template <class A> struct lion {
    UPDATE_FIELDS
    DEVICE void run() const {
        UPDATE_PART
        A beta1 = A(at.scalars[0]), rest1 = A(at.scalars[1]), beta2 = A(at.scalars[2]), rest2 = A(at.scalars[3]);
        A lr = A(at.scalars[4]), keep = A(at.scalars[5]);
        for (int i = threadIdx.x; i < at.n; i += blockDim.x) {
            A g = at.gradient(i), m = at.first[i];
            A direction = fma(beta1, m, rest1 * g);
            // 0, or not a number, is its own sign
            A sign = direction > A(0) ? A(1) : direction < A(0) ? A(-1) : direction;
            at.p[i] = fma(keep, at.p[i], lr * sign);
            at.first[i] = fma(beta2, m, rest2 * g);
        }
    }
};
EXPORT_ARITH(lion)

// The momentum of a matrix, the first state, and the direction, the second. Scalars: momentum, 1 − momentum, whether
// Nesterov, −lr, what is kept of the weight, least norm.
template <class A> struct muon_momentum {
    UPDATE_FIELDS
    DEVICE void run() const {
        UPDATE_PART
        A beta = A(at.scalars[0]), rest = A(at.scalars[1]);
        bool nesterov = at.scalars[2] != 0;
        for (int i = threadIdx.x; i < at.n; i += blockDim.x) {
            A g = at.gradient(i), m = fma(beta, at.first[i], rest * g);
            at.first[i] = m;
            at.second[i] = nesterov ? fma(beta, m, rest * g) : m;
        }
    }
};
EXPORT_ARITH(muon_momentum)

// p = kept p − lr direction.
template <class A> struct muon_step {
    UPDATE_FIELDS
    DEVICE void run() const {
        UPDATE_PART
        A lr = A(at.scalars[3]), keep = A(at.scalars[4]);
        for (int i = threadIdx.x; i < at.n; i += blockDim.x) at.p[i] = fma(keep, at.p[i], lr * at.second[i]);
    }
};
EXPORT_ARITH(muon_step)

// x over its norm, or over `least` if that is more; a block takes a member.
template <class A> struct normalise {
    A* x;
    i64 x_stride;
    i64 n;
    const double* least;
    i64 least_stride;
    DEVICE void run() const {
        A* x = this->x + blockIdx.y * x_stride;
        double sum = 0;
        for (i64 i = threadIdx.x; i < n; i += blockDim.x) sum += (double)x[i] * (double)x[i];
        A norm = A(fmax(sqrt(block_sum(sum)), least[blockIdx.y * least_stride]));
        for (i64 i = threadIdx.x; i < n; i += blockDim.x) x[i] /= norm;
    }
};
EXPORT_ARITH_BLOCK(normalise)

// Averages of weights: the first state is the average. Scalars: what is taken of the difference, 1 to copy.
template <class A> struct ema {
    UPDATE_FIELDS
    DEVICE void run() const {
        UPDATE_PART
        A rest = A(at.scalars[0]);
        for (int i = threadIdx.x; i < at.n; i += blockDim.x) {
            A p = at.p[i], a = at.first[i];
            at.first[i] = rest == A(1) ? p : fma(rest, p - a, a);
        }
    }
};
EXPORT_ARITH(ema)

// squares [chunks]: the sum of the squares of each chunk's gradient.
template <class A> struct squared_norms {
    UPDATE_FIELDS
    double* squares;
    DEVICE void run() const {
        Part<A> at = part_of<A>(tensors, chunks, scalars, clip, limit, members);
        double sum = 0;
        for (int i = threadIdx.x; i < at.n; i += blockDim.x) sum += (double)at.g[i] * (double)at.g[i];
        sum = block_sum(sum);
        if (threadIdx.x == 0) squares[blockIdx.x] = sum;
    }
};
EXPORT_ARITH_BLOCK(squared_norms)

// For each member, a block: what its gradients are multiplied by so that their norm is at most `limit`, as
// PyTorch's clip_grad_norm_. Its chunks are those whose second word is the member.
struct clip_factors {
    const i64* chunks;
    const double* squares;
    double* factors;
    i64 count;
    double limit;
    DEVICE void run() const {
        double sum = 0;
        for (i64 i = threadIdx.x; i < count; i += blockDim.x)
            if (chunks[3 * i + 1] == blockIdx.y) sum += squares[i];
        sum = block_sum(sum);
        if (threadIdx.x == 0) {
            double factor = limit / (sqrt(sum) + 1e-6);
            // NaN stays
            factors[blockIdx.y] = factor > 1 ? 1 : factor;
        }
    }
};
ENTRY(clip_factors_plain, clip_factors, true)

// received [tensors] = 1 where an active member's gradient has a number other than 0.
template <class A> struct any_gradient {
    UPDATE_FIELDS
    unsigned* received;
    DEVICE void run() const {
        UPDATE_PART
        for (int i = threadIdx.x; i < at.n; i += blockDim.x)
            if (at.g[i] != A(0)) received[at.tensor] = 1;
    }
};
EXPORT_ARITH(any_gradient)

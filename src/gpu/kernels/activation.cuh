// Activations, elementwise: φ, φ' and φ'' as `tensor/activation/formula.rs` has them.
#pragma once
#include "common.cuh"

enum { RELU, GELU, GELU_TANH, TANH, ERF, SILU, IDENTITY, QUADRATIC };

template <class A> DEVICE A within(A x) { return fmin(fmax(x, A(-50)), A(50)); }
template <class A> DEVICE A sigmoid(A x) { return A(1) / (A(1) + exp(-x)); }
// the density of the standard normal distribution, and its distribution function
template <class A> DEVICE A density(A x) { return A(0.3989422804014327) * exp(A(-0.5) * x * x); }
template <class A> DEVICE A normal_cdf(A x) { return A(0.5) * erfc(A(-0.7071067811865476) * x); }

template <class A> struct GeluTanh {
    A x, s, rest, slope;
    DEVICE GeluTanh(A at) {
        const A scale = A(1.5957691216057308), cubic = A(0.044715);
        x = within(at);
        A u = scale * x * (x * x * cubic + A(1));
        s = sigmoid(u);
        rest = sigmoid(-u);
        slope = x * x * (A(3) * scale * cubic) + scale;
    }
};

template <class A> DEVICE A phi(int kind, A x) {
    switch (kind) {
        case RELU: return x < A(0) ? A(0) : x;
        case GELU: return x * normal_cdf(x);
        case GELU_TANH: {
            A u = A(1.5957691216057308) * x * (x * x * A(0.044715) + A(1));
            return x * sigmoid(u);
        }
        case TANH: return tanh(x);
        case ERF: return erf(x);
        case SILU: return x * sigmoid(x);
        case QUADRATIC: return x * x;
        default: return x;
    }
}

template <class A> DEVICE A phi_first(int kind, A x) {
    switch (kind) {
        case RELU: return x <= A(0) ? A(0) : A(1);
        case GELU: {
            A near = within(x);
            return near * density(near) + normal_cdf(x);
        }
        case GELU_TANH: {
            GeluTanh<A> p(x);
            return p.x * p.slope * (p.s * p.rest) + p.s;
        }
        case TANH: return A(4) * sigmoid(x + x) * sigmoid(-x - x);
        case ERF: {
            A near = within(x);
            return A(1.1283791670955126) * exp(-near * near);
        }
        case SILU: {
            A s = sigmoid(x), near = within(x);
            return near * sigmoid(-x) * s + s;
        }
        case QUADRATIC: return x + x;
        default: return A(1);
    }
}

template <class A> DEVICE A phi_second(int kind, A x) {
    A near = within(x);
    switch (kind) {
        case GELU: return (A(2) - near * near) * density(near);
        case GELU_TANH: {
            GeluTanh<A> p(x);
            A bend = A(6 * 1.5957691216057308 * 0.044715) * p.x;
            return p.s * p.rest * (A(2) * p.slope + p.x * (bend + (p.rest - p.s) * p.slope * p.slope));
        }
        case TANH: return A(-8) * tanh(x) * sigmoid(x + x) * sigmoid(-x - x);
        case ERF: return A(-2) * near * A(1.1283791670955126) * exp(-near * near);
        case SILU: {
            A s = sigmoid(x), rest = sigmoid(-x);
            return s * rest * (near * (rest - s) + A(2));
        }
        case QUADRATIC: return A(2);
        default: return A(0);
    }
}

// y = φ(x), for `n` numbers of each member.
template <class S> struct activation_forward {
    typedef typename Arith<S>::T A;
    const S* x;
    i64 x_stride;
    S* y;
    i64 y_stride;
    i64 n;
    i64 kind;
    DEVICE void run() const {
        const S* x = this->x + blockIdx.y * x_stride;
        S* y = this->y + blockIdx.y * y_stride;
        for (i64 i = first_index(); i < n; i += index_step()) y[i] = S(phi((int)kind, A(x[i])));
    }
};
EXPORT(activation_forward)

// to = by φ'(x): the backward pass of a gradient `by`, or the tangent of a tangent `by`.
template <class S> struct activation_first {
    typedef typename Arith<S>::T A;
    const S* x;
    i64 x_stride;
    const S* by;
    i64 by_stride;
    S* to;
    i64 to_stride;
    i64 n;
    i64 kind;
    DEVICE void run() const {
        const S* x = this->x + blockIdx.y * x_stride;
        const S* by = this->by + blockIdx.y * by_stride;
        S* to = this->to + blockIdx.y * to_stride;
        for (i64 i = first_index(); i < n; i += index_step())
            to[i] = S(A(by[i]) * phi_first((int)kind, A(x[i])));
    }
};
EXPORT(activation_first)

// dgx = dgy φ'(x) + gy φ''(x) dx.
template <class S> struct activation_second {
    typedef typename Arith<S>::T A;
    const S* x;
    i64 x_stride;
    const S* dx;
    i64 dx_stride;
    const S* gy;
    i64 gy_stride;
    const S* dgy;
    i64 dgy_stride;
    S* dgx;
    i64 dgx_stride;
    i64 n;
    i64 kind;
    DEVICE void run() const {
        const S* x = this->x + blockIdx.y * x_stride;
        const S* dx = this->dx + blockIdx.y * dx_stride;
        const S* gy = this->gy + blockIdx.y * gy_stride;
        const S* dgy = this->dgy + blockIdx.y * dgy_stride;
        S* dgx = this->dgx + blockIdx.y * dgx_stride;
        for (i64 i = first_index(); i < n; i += index_step()) {
            A at = A(x[i]);
            dgx[i] = S(A(dgy[i]) * phi_first((int)kind, at) + A(gy[i]) * phi_second((int)kind, at) * A(dx[i]));
        }
    }
};
EXPORT(activation_second)

// Gated linear units.
#pragma once
#include "activation.cuh"

// y = φ(a) b for x [rows, 2 width], a beside b.
template <class S> struct glu_forward {
    typedef typename Arith<S>::T A;
    const S* x;
    i64 x_stride;
    S* y;
    i64 y_stride;
    i64 rows;
    i64 width;
    i64 kind;
    DEVICE void run() const {
        const S* x = this->x + blockIdx.y * x_stride;
        S* y = this->y + blockIdx.y * y_stride;
        for (i64 row = blockIdx.x; row < rows; row += gridDim.x)
            for (i64 j = threadIdx.x; j < width; j += blockDim.x) {
                const S* at = x + 2 * row * width + j;
                y[row * width + j] = S(phi((int)kind, A(at[0])) * A(at[width]));
            }
    }
};
EXPORT(glu_forward)

// ga = gy φ'(a) b, gb = gy φ(a).
template <class S> struct glu_backward {
    typedef typename Arith<S>::T A;
    const S* x;
    i64 x_stride;
    const S* gy;
    i64 gy_stride;
    S* gx;
    i64 gx_stride;
    i64 rows;
    i64 width;
    i64 kind;
    DEVICE void run() const {
        const S* x = this->x + blockIdx.y * x_stride;
        const S* gy = this->gy + blockIdx.y * gy_stride;
        S* gx = this->gx + blockIdx.y * gx_stride;
        for (i64 row = blockIdx.x; row < rows; row += gridDim.x)
            for (i64 j = threadIdx.x; j < width; j += blockDim.x) {
                i64 at = 2 * row * width + j;
                A a = A(x[at]), b = A(x[at + width]), g = A(gy[row * width + j]);
                gx[at] = S(g * phi_first((int)kind, a) * b);
                gx[at + width] = S(g * phi((int)kind, a));
            }
    }
};
EXPORT(glu_backward)

// dy = φ'(a) da b + φ(a) db.
template <class S> struct glu_tangent {
    typedef typename Arith<S>::T A;
    const S* x;
    i64 x_stride;
    const S* dx;
    i64 dx_stride;
    S* dy;
    i64 dy_stride;
    i64 rows;
    i64 width;
    i64 kind;
    DEVICE void run() const {
        const S* x = this->x + blockIdx.y * x_stride;
        const S* dx = this->dx + blockIdx.y * dx_stride;
        S* dy = this->dy + blockIdx.y * dy_stride;
        for (i64 row = blockIdx.x; row < rows; row += gridDim.x)
            for (i64 j = threadIdx.x; j < width; j += blockDim.x) {
                i64 at = 2 * row * width + j;
                A a = A(x[at]), b = A(x[at + width]);
                dy[row * width + j] =
                    S(phi_first((int)kind, a) * A(dx[at]) * b + phi((int)kind, a) * A(dx[at + width]));
            }
    }
};
EXPORT(glu_tangent)

// The derivative of glu_backward along dx and dgy.
template <class S> struct glu_backward_tangent {
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
    i64 rows;
    i64 width;
    i64 kind;
    DEVICE void run() const {
        const S* x = this->x + blockIdx.y * x_stride;
        const S* dx = this->dx + blockIdx.y * dx_stride;
        const S* gy = this->gy + blockIdx.y * gy_stride;
        const S* dgy = this->dgy + blockIdx.y * dgy_stride;
        S* dgx = this->dgx + blockIdx.y * dgx_stride;
        for (i64 row = blockIdx.x; row < rows; row += gridDim.x)
            for (i64 j = threadIdx.x; j < width; j += blockDim.x) {
                i64 at = 2 * row * width + j;
                A a = A(x[at]), b = A(x[at + width]), da = A(dx[at]), db = A(dx[at + width]);
                A g = A(gy[row * width + j]), dg = A(dgy[row * width + j]);
                A value = phi((int)kind, a), first = phi_first((int)kind, a), second = phi_second((int)kind, a);
                dgx[at] = S(dg * first * b + g * (second * da * b + first * db));
                dgx[at + width] = S(dg * value + g * first * da);
            }
    }
};
EXPORT(glu_backward_tangent)

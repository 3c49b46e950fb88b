// Layer normalisation and RMS normalisation over rows, and what all normalisations share.
//
// Rows are shared by `lanes` neighbouring threads: a power of two up to 32, or all threads of a block. A row's
// numbers are read from memory once; what reads them again finds them in the cache.
#pragma once
#include "common.cuh"

#ifdef __CUDACC__
#define NORM_UNROLL _Pragma("unroll 4")
#else
#define NORM_UNROLL
#endif

// Sums over the `lanes` threads that share something, in all of them; all threads of the block must call it.
template <int N, class A> DEVICE void norm_sums(A (&x)[N], int lanes) {
    for (int by = (lanes < WARP ? lanes : WARP) / 2; by > 0; by /= 2)
        for (int k = 0; k < N; k++) x[k] += __shfl_xor_sync(0xffffffffu, x[k], by);
    if (lanes <= WARP) return;
    SHARED(A, parts, N * 8);
    int warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    if (threadIdx.x % WARP == 0)
        for (int k = 0; k < N; k++) parts[k * 8 + warp] = x[k];
    __syncthreads();
    for (int k = 0; k < N; k++) {
        x[k] = 0;
        for (int i = 0; i < warps; i++) x[k] += parts[k * 8 + i];
    }
    // the next call writes there again
    __syncthreads();
}

// A thread's share of a row of `count` numbers: those from `lane` on at distance `lanes`, before `end`, which is 0
// where the thread has no row.
struct NormRow {
    int count, end, lane, lanes;
};

// What was saved of a row: mean, if that is taken off, and reciprocal standard deviation.
template <bool CENTRED, class A> struct NormMoments {
    A mean, scale;
    DEVICE NormMoments(const A* saved) : mean(CENTRED ? saved[0] : A(0)), scale(saved[CENTRED]) {}
    template <class S> DEVICE A normalised(S x) const { return (A(x) - mean) * scale; }
};

// y = gain (x − mean) / √(var + eps) + bias, and what is saved of the row.
template <bool CENTRED, class S, class A>
DEVICE void norm_row_forward(NormRow at, const S* x, const A* gain, A gain_by, const A* bias, A bias_by, A eps, S* y,
                             A* saved) {
    A mean = 0, n = A(at.count);
    if (CENTRED) {
        A sum[1] = {0};
        NORM_UNROLL
        for (int j = at.lane; j < at.end; j += at.lanes) sum[0] += A(x[j]);
        norm_sums(sum, at.lanes);
        mean = sum[0] / n;
    }
    A squares[1] = {0};
    NORM_UNROLL
    for (int j = at.lane; j < at.end; j += at.lanes) {
        A off = A(x[j]) - mean;
        squares[0] += off * off;
    }
    norm_sums(squares, at.lanes);
    A scale = A(1) / sqrt(squares[0] / n + eps);
    if (at.lane == 0 && at.end > 0) {
        if (CENTRED) saved[0] = mean;
        saved[CENTRED] = scale;
    }
    NORM_UNROLL
    for (int j = at.lane; j < at.end; j += at.lanes) {
        A value = gain_by * gain[j] * ((A(x[j]) - mean) * scale);
        y[j] = S(CENTRED ? value + bias_by * bias[j] : value);
    }
}

// gx, unless it is null; and added to `sums`, unless that is null, the row's parts of the gradients of gain [count] and
// bias [count].
template <bool CENTRED, class S, class A>
DEVICE void norm_row_backward(NormRow at, const S* x, const A* gain, A gain_by, const A* saved, const S* gy, S* gx,
                              A* sums) {
    NormMoments<CENTRED, A> was(saved);
    A n = A(at.count), means[1 + CENTRED] = {};
    if (gx) {
        NORM_UNROLL
        for (int j = at.lane; j < at.end; j += at.lanes) {
            A d = A(gy[j]) * gain[j];
            means[0] += d * was.normalised(x[j]);
            if (CENTRED) means[CENTRED] += d;
        }
        norm_sums(means, at.lanes);
    }
    A m2 = means[0] / n, m1 = CENTRED ? means[CENTRED] / n : A(0), factor = gain_by * was.scale;
    NORM_UNROLL
    for (int j = at.lane; j < at.end; j += at.lanes) {
        A g = A(gy[j]), xh = was.normalised(x[j]);
        if (sums) {
            sums[j] += g * xh;
            if (CENTRED) sums[at.count + j] += g;
        }
        if (gx) gx[j] = S(factor * (g * gain[j] - m1 - xh * m2));
    }
}

// dy from the tangents of x (0 if null), gain and bias.
template <bool CENTRED, class S, class A>
DEVICE void norm_row_tangent(NormRow at, const S* x, const S* dx, const A* gain, const A* dgain, A gain_by, const A* dbias,
                             A bias_by, const A* saved, S* dy) {
    NormMoments<CENTRED, A> was(saved);
    A n = A(at.count), means[1 + CENTRED] = {};
    if (dx) {
        NORM_UNROLL
        for (int j = at.lane; j < at.end; j += at.lanes) {
            A d = A(dx[j]);
            means[0] += d * was.normalised(x[j]);
            if (CENTRED) means[CENTRED] += d;
        }
        norm_sums(means, at.lanes);
    }
    A m2 = means[0] / n, m1 = CENTRED ? means[CENTRED] / n : A(0);
    NORM_UNROLL
    for (int j = at.lane; j < at.end; j += at.lanes) {
        A xh = was.normalised(x[j]), value = dgain[j] * xh;
        if (dx) value += gain[j] * (was.scale * (A(dx[j]) - m1 - xh * m2));
        value *= gain_by;
        dy[j] = S(CENTRED ? value + bias_by * dbias[j] : value);
    }
}

// The tangent of norm_row_backward. With the normalised row x̂ and its tangent, r (ẋ − mean ẋ − x̂ mean(x̂ ẋ)), and the
// gradient before the gain, d = gy gain, the gradient of the input is r (d − mean d − x̂ mean(d x̂)).
template <bool CENTRED, class S, class A>
DEVICE void norm_row_backward_tangent(NormRow at, const S* x, const S* dx, const A* gain, const A* dgain, A gain_by,
                                      const A* saved, const S* gy, const S* dgy, S* dgx, A* sums) {
    NormMoments<CENTRED, A> was(saved);
    A n = A(at.count);
    // of x̂ ẋ, d x̂, ḋ x̂, d ẋ; ẋ, d, ḋ
    A means[CENTRED ? 7 : 4] = {};
    if (dgx || dx) {
        NORM_UNROLL
        for (int j = at.lane; j < at.end; j += at.lanes) {
            A g = A(gy[j]), xh = was.normalised(x[j]), moved = dx ? A(dx[j]) : A(0);
            A d = g * gain[j], dd = A(dgy[j]) * gain[j] + g * dgain[j];
            means[0] += xh * moved;
            means[1] += d * xh;
            means[2] += dd * xh;
            means[3] += d * moved;
            if (CENTRED) {
                means[CENTRED ? 4 : 0] += moved;
                means[CENTRED ? 5 : 0] += d;
                means[CENTRED ? 6 : 0] += dd;
            }
        }
        norm_sums(means, at.lanes);
    }
    for (int k = 0; k < (CENTRED ? 7 : 4); k++) means[k] /= n;
    A of_dx = CENTRED ? means[CENTRED ? 4 : 0] : A(0), of_d = CENTRED ? means[CENTRED ? 5 : 0] : A(0);
    A of_dd = CENTRED ? means[CENTRED ? 6 : 0] : A(0);
    // mean of d times the tangent of x̂
    A bent = was.scale * (means[3] - of_dx * of_d - means[0] * means[1]);
    A shrink = was.scale * means[0], dot = means[1], ddot = means[2] + bent;
    NORM_UNROLL
    for (int j = at.lane; j < at.end; j += at.lanes) {
        A g = A(gy[j]), dg = A(dgy[j]), xh = was.normalised(x[j]);
        A dxh = dx ? was.scale * (A(dx[j]) - of_dx - xh * means[0]) : A(0);
        if (sums) {
            sums[j] += dg * xh + g * dxh;
            if (CENTRED) sums[at.count + j] += dg;
        }
        if (dgx) {
            A d = g * gain[j], dd = dg * gain[j] + g * dgain[j];
            A inner = dd - of_dd - dxh * dot - xh * ddot - shrink * (d - of_d - xh * dot);
            dgx[j] = S(gain_by * (was.scale * inner));
        }
    }
}

// The rows that a block takes: as many at once as `lanes` fit into it, in turns.
struct NormRows {
    int lane, lanes, set, sets, rows, count;
    DEVICE NormRows(i64 rows, i64 count, i64 lanes) : lanes((int)lanes), rows((int)rows), count((int)count) {
        lane = threadIdx.x % this->lanes;
        set = threadIdx.x / this->lanes;
        sets = blockDim.x / this->lanes;
    }
    // of the rows from `first` on this thread's, or the first row of all where it has none
    DEVICE int row(i64 first) const { return first + set < rows ? (int)first + set : 0; }
    DEVICE NormRow share(i64 first) const { return NormRow{count, first + set < rows ? count : 0, lane, lanes}; }
    DEVICE i64 begin() const { return (i64)blockIdx.x * sets; }
    DEVICE i64 step() const { return (i64)gridDim.x * sets; }
};

// Sums [width] over the rows that a block takes, its part of [blocks, width]. They are kept in shared memory, of which
// the threads of each row have `pitch` numbers of their own; or with pitch 0, where a block takes one row at once, in
// their place. Nothing is kept without `parts`.
template <class A> struct NormParts {
    A *all, *mine, *part;
    int width, pitch, sets;
    DEVICE NormParts(A* parts, i64 width, i64 pitch, const NormRows& rows)
        : all(nullptr), mine(nullptr), part(nullptr), width((int)width), pitch((int)pitch), sets(rows.sets) {
        if (!parts) return;
        DYNAMIC_SHARED(A, kept);
        part = parts + blockIdx.x * width;
        all = pitch ? kept : part;
        mine = all + rows.set * this->pitch;
        int numbers = pitch ? sets * this->pitch : this->width;
        for (int i = threadIdx.x; i < numbers; i += blockDim.x) all[i] = 0;
        __syncthreads();
    }
    DEVICE void finish() const {
        if (!part || !pitch) return;
        __syncthreads();
        for (int i = threadIdx.x; i < width; i += blockDim.x) {
            A sum = 0;
            for (int set = 0; set < sets; set++) sum += all[set * pitch + i];
            part[i] = sum;
        }
    }
};

// Forward pass over x [rows, count]; blocks take rows in turns.
template <class S, bool CENTRED> struct row_norm_forward {
    typedef typename Arith<S>::T A;
    const S* x;
    i64 x_stride;
    const A* gain;
    i64 gain_stride;
    const A* bias;
    i64 bias_stride;
    S* y;
    i64 y_stride;
    A* saved;
    i64 saved_stride;
    i64 rows;
    i64 count;
    i64 lanes;
    double gain_by;
    double bias_by;
    double eps;
    DEVICE void run() const {
        const S* x = this->x + blockIdx.y * x_stride;
        const A* gain = this->gain + blockIdx.y * gain_stride;
        const A* bias = this->bias + blockIdx.y * bias_stride;
        S* y = this->y + blockIdx.y * y_stride;
        A* saved = this->saved + blockIdx.y * saved_stride;
        NormRows all(rows, count, lanes);
        for (i64 first = all.begin(); first < rows; first += all.step()) {
            i64 row = all.row(first);
            norm_row_forward<CENTRED>(all.share(first), x + row * count, gain, A(gain_by), bias, A(bias_by), A(eps),
                                      y + row * count, saved + row * (1 + CENTRED));
        }
    }
};
template <class S> struct layer_norm_forward : row_norm_forward<S, true> {};
template <class S> struct rms_norm_forward : row_norm_forward<S, false> {};
EXPORT_BLOCK(layer_norm_forward)
EXPORT_BLOCK(rms_norm_forward)

// Backward pass: gx [rows, count] unless it is null, and in `parts`, unless it is null, each block's sums [gain, bias]
// of the gradients of the parameters, without multipliers.
template <class S, bool CENTRED> struct row_norm_backward {
    typedef typename Arith<S>::T A;
    const S* x;
    i64 x_stride;
    const A* gain;
    i64 gain_stride;
    const A* saved;
    i64 saved_stride;
    const S* gy;
    i64 gy_stride;
    S* gx;
    i64 gx_stride;
    A* parts;
    i64 parts_stride;
    i64 pitch;
    i64 rows;
    i64 count;
    i64 lanes;
    double gain_by;
    DEVICE void run() const {
        const S* x = this->x + blockIdx.y * x_stride;
        const A* gain = this->gain + blockIdx.y * gain_stride;
        const A* saved = this->saved + blockIdx.y * saved_stride;
        const S* gy = this->gy + blockIdx.y * gy_stride;
        S* gx = this->gx ? this->gx + blockIdx.y * gx_stride : nullptr;
        A* parts = this->parts ? this->parts + blockIdx.y * parts_stride : nullptr;
        NormRows all(rows, count, lanes);
        NormParts<A> sums(parts, (1 + CENTRED) * count, pitch, all);
        for (i64 first = all.begin(); first < rows; first += all.step()) {
            i64 row = all.row(first), at = row * count;
            norm_row_backward<CENTRED>(all.share(first), x + at, gain, A(gain_by), saved + row * (1 + CENTRED), gy + at,
                                       gx ? gx + at : nullptr, sums.mine);
        }
        sums.finish();
    }
};
template <class S> struct layer_norm_backward : row_norm_backward<S, true> {};
template <class S> struct rms_norm_backward : row_norm_backward<S, false> {};
EXPORT_BLOCK(layer_norm_backward)
EXPORT_BLOCK(rms_norm_backward)

// The tangent dy [rows, count] from those of x (null where it does not move), gain and bias.
template <class S, bool CENTRED> struct row_norm_tangent {
    typedef typename Arith<S>::T A;
    const S* x;
    i64 x_stride;
    const S* dx;
    i64 dx_stride;
    const A* gain;
    i64 gain_stride;
    const A* dgain;
    i64 dgain_stride;
    const A* dbias;
    i64 dbias_stride;
    const A* saved;
    i64 saved_stride;
    S* dy;
    i64 dy_stride;
    i64 rows;
    i64 count;
    i64 lanes;
    double gain_by;
    double bias_by;
    DEVICE void run() const {
        const S* x = this->x + blockIdx.y * x_stride;
        const S* dx = this->dx ? this->dx + blockIdx.y * dx_stride : nullptr;
        const A* gain = this->gain + blockIdx.y * gain_stride;
        const A* dgain = this->dgain + blockIdx.y * dgain_stride;
        const A* dbias = this->dbias + blockIdx.y * dbias_stride;
        const A* saved = this->saved + blockIdx.y * saved_stride;
        S* dy = this->dy + blockIdx.y * dy_stride;
        NormRows all(rows, count, lanes);
        for (i64 first = all.begin(); first < rows; first += all.step()) {
            i64 row = all.row(first), at = row * count;
            norm_row_tangent<CENTRED>(all.share(first), x + at, dx ? dx + at : nullptr, gain, dgain, A(gain_by), dbias,
                                      A(bias_by), saved + row * (1 + CENTRED), dy + at);
        }
    }
};
template <class S> struct layer_norm_tangent : row_norm_tangent<S, true> {};
template <class S> struct rms_norm_tangent : row_norm_tangent<S, false> {};
EXPORT_BLOCK(layer_norm_tangent)
EXPORT_BLOCK(rms_norm_tangent)

// The tangent of the backward pass, as that.
template <class S, bool CENTRED> struct row_norm_backward_tangent {
    typedef typename Arith<S>::T A;
    const S* x;
    i64 x_stride;
    const S* dx;
    i64 dx_stride;
    const A* gain;
    i64 gain_stride;
    const A* dgain;
    i64 dgain_stride;
    const A* saved;
    i64 saved_stride;
    const S* gy;
    i64 gy_stride;
    const S* dgy;
    i64 dgy_stride;
    S* dgx;
    i64 dgx_stride;
    A* parts;
    i64 parts_stride;
    i64 pitch;
    i64 rows;
    i64 count;
    i64 lanes;
    double gain_by;
    DEVICE void run() const {
        const S* x = this->x + blockIdx.y * x_stride;
        const S* dx = this->dx ? this->dx + blockIdx.y * dx_stride : nullptr;
        const A* gain = this->gain + blockIdx.y * gain_stride;
        const A* dgain = this->dgain + blockIdx.y * dgain_stride;
        const A* saved = this->saved + blockIdx.y * saved_stride;
        const S* gy = this->gy + blockIdx.y * gy_stride;
        const S* dgy = this->dgy + blockIdx.y * dgy_stride;
        S* dgx = this->dgx ? this->dgx + blockIdx.y * dgx_stride : nullptr;
        A* parts = this->parts ? this->parts + blockIdx.y * parts_stride : nullptr;
        NormRows all(rows, count, lanes);
        NormParts<A> sums(parts, (1 + CENTRED) * count, pitch, all);
        for (i64 first = all.begin(); first < rows; first += all.step()) {
            i64 row = all.row(first), at = row * count;
            norm_row_backward_tangent<CENTRED>(all.share(first), x + at, dx ? dx + at : nullptr, gain, dgain, A(gain_by),
                                               saved + row * (1 + CENTRED), gy + at, dgy + at,
                                               dgx ? dgx + at : nullptr, sums.mine);
        }
        sums.finish();
    }
};
template <class S> struct layer_norm_backward_tangent : row_norm_backward_tangent<S, true> {};
template <class S> struct rms_norm_backward_tangent : row_norm_backward_tangent<S, false> {};
EXPORT_BLOCK(layer_norm_backward_tangent)
EXPORT_BLOCK(rms_norm_backward_tangent)

// first [n_first] and second [n_second], side by side, are the sums over rows of parts [rows, n_first + n_second], each
// with its factor. A block takes 32 columns; its warps take every eighth row.
template <class A> struct norm_part_sums {
    const A* parts;
    i64 parts_stride;
    A* first;
    i64 first_stride;
    A* second;
    i64 second_stride;
    i64 rows;
    i64 n_first;
    i64 n_second;
    double by_first;
    double by_second;
    DEVICE void run() const {
        SHARED(A, sums, 256);
        int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
        i64 column = (i64)blockIdx.x * WARP + lane, width = n_first + n_second;
        const A* from = parts + blockIdx.y * parts_stride + column;
        A sum = 0;
        if (column < width) {
            NORM_UNROLL
            for (int row = warp; row < (int)rows; row += warps) sum += from[row * width];
        }
        sums[threadIdx.x] = sum;
        __syncthreads();
        if (warp > 0 || column >= width) return;
        for (int i = 1; i < warps; i++) sum += sums[i * WARP + lane];
        if (column < n_first)
            first[blockIdx.y * first_stride + column] = A(by_first) * sum;
        else
            second[blockIdx.y * second_stride + column - n_first] = A(by_second) * sum;
    }
};
EXPORT_ARITH_BLOCK(norm_part_sums)

// Group normalisation of x [batch, channels, pixels], with a relu at once where it is wanted.
//
// A block takes a group of an example, whose numbers follow each other. Its channels are shared by `lanes` threads each
// (see row_norm.cuh), in turns. Blocks along x are [batch, groups].
#pragma once
#include "row_norm.cuh"

// The relu's: a gradient or tangent where the output, slope x + offset, is above 0.
template <class A> DEVICE A norm_passed(bool relu, A value, A x, A slope, A offset) {
    return !relu || fma(x, slope, offset) > A(0) ? value : A(0);
}

// A thread's share of a group.
struct NormGroup {
    int pixels, lane, lanes, set, sets, channels, first;
    i64 start;
    DEVICE NormGroup(i64 all_channels, i64 pixels, i64 groups, i64 lanes) : pixels((int)pixels), lanes((int)lanes) {
        channels = (int)all_channels / (int)groups;
        first = (int)(blockIdx.x % (unsigned)groups) * channels;
        start = (i64)blockIdx.x * channels * pixels;
        lane = threadIdx.x % this->lanes;
        set = threadIdx.x / this->lanes;
        sets = blockDim.x / this->lanes;
    }
    DEVICE int numbers() const { return channels * pixels; }
};

// The output is slope x + offset in a channel.
template <class A> struct NormLine {
    A mean, scale, gain, slope, offset;
    NormLine() = default;
    DEVICE NormLine(A mean, A scale, A gain, A shift)
        : mean(mean), scale(scale), gain(gain), slope(gain * scale), offset(shift - mean * (gain * scale)) {}
    DEVICE A normalised(A x) const { return (x - mean) * scale; }
    DEVICE A passed(bool relu, A value, A x) const { return norm_passed(relu, value, x, slope, offset); }
};

// Writes y and saved [batch, groups, 2], mean and reciprocal standard deviation.
template <class S> struct group_norm_forward {
    typedef typename Arith<S>::T A;
    const S* x;
    i64 x_stride;
    const A* gain;
    i64 gain_stride;
    const A* shift;
    i64 shift_stride;
    S* y;
    i64 y_stride;
    A* saved;
    i64 saved_stride;
    i64 channels;
    i64 pixels;
    i64 groups;
    i64 lanes;
    i64 relu;
    double gain_by;
    double shift_by;
    double eps;
    DEVICE void run() const {
        NormGroup at(channels, pixels, groups, lanes);
        const S* x = this->x + blockIdx.y * x_stride + at.start;
        const A* gain = this->gain + blockIdx.y * gain_stride + at.first;
        const A* shift = this->shift + blockIdx.y * shift_stride + at.first;
        S* y = this->y + blockIdx.y * y_stride + at.start;
        A n = A(at.numbers());
        A sum[1] = {0}, squares[1] = {0};
        NORM_UNROLL
        for (int i = threadIdx.x; i < at.numbers(); i += blockDim.x) sum[0] += A(x[i]);
        norm_sums(sum, blockDim.x);
        A mean = sum[0] / n;
        NORM_UNROLL
        for (int i = threadIdx.x; i < at.numbers(); i += blockDim.x) {
            A off = A(x[i]) - mean;
            squares[0] += off * off;
        }
        norm_sums(squares, blockDim.x);
        A scale = A(1) / sqrt(squares[0] / n + A(eps));
        if (threadIdx.x == 0) {
            A* saved = this->saved + blockIdx.y * saved_stride + 2 * (i64)blockIdx.x;
            saved[0] = mean;
            saved[1] = scale;
        }
        for (int c = at.set; c < at.channels; c += at.sets) {
            NormLine<A> line(mean, scale, A(gain_by) * gain[c], A(shift_by) * shift[c]);
            NORM_UNROLL
            for (int p = at.lane; p < at.pixels; p += at.lanes) {
                A value = fma(A(x[c * at.pixels + p]), line.slope, line.offset);
                y[c * at.pixels + p] = S(relu && value < A(0) ? A(0) : value);
            }
        }
    }
};
EXPORT_BLOCK(group_norm_forward)

// Writes gx unless it is null, and unless it is null parts [batch, 2, channels]: each example's parts of the gradients of
// gain and shift, without multipliers.
template <class S> struct group_norm_backward {
    typedef typename Arith<S>::T A;
    const S* x;
    i64 x_stride;
    const A* gain;
    i64 gain_stride;
    const A* shift;
    i64 shift_stride;
    const A* saved;
    i64 saved_stride;
    const S* gy;
    i64 gy_stride;
    S* gx;
    i64 gx_stride;
    A* parts;
    i64 parts_stride;
    i64 channels;
    i64 pixels;
    i64 groups;
    i64 lanes;
    i64 relu;
    double gain_by;
    double shift_by;
    DEVICE void run() const {
        NormGroup at(channels, pixels, groups, lanes);
        const S* x = this->x + blockIdx.y * x_stride + at.start;
        const A* gain = this->gain + blockIdx.y * gain_stride + at.first;
        const A* shift = this->shift + blockIdx.y * shift_stride + at.first;
        const A* saved = this->saved + blockIdx.y * saved_stride + 2 * (i64)blockIdx.x;
        const S* gy = this->gy + blockIdx.y * gy_stride + at.start;
        i64 example = blockIdx.x / (unsigned)groups;
        A* part = parts ? parts + blockIdx.y * parts_stride + example * 2 * channels + at.first : nullptr;
        A mean = saved[0], scale = saved[1];
        // of gradients, and gradients times normalised numbers, each times the gain
        A all[2] = {0, 0};
        for (int from = 0; from < at.channels; from += at.sets) {
            // threads without a channel take part in the sums
            int c = from + at.set, end = c < at.channels ? at.pixels : 0;
            if (end == 0) c = 0;
            NormLine<A> line(mean, scale, A(gain_by) * gain[c], A(shift_by) * shift[c]);
            A sums[2] = {0, 0};
            NORM_UNROLL
            for (int p = at.lane; p < end; p += at.lanes) {
                A value = A(x[c * at.pixels + p]), g = line.passed(relu, A(gy[c * at.pixels + p]), value);
                sums[0] += g;
                sums[1] += g * line.normalised(value);
            }
            norm_sums(sums, at.lanes);
            if (at.lane > 0 || end == 0) continue;
            if (part) {
                part[c] = sums[1];
                part[channels + c] = sums[0];
            }
            all[0] += line.gain * sums[0];
            all[1] += line.gain * sums[1];
        }
        if (!gx) return;
        norm_sums(all, blockDim.x);
        A n = A(at.numbers()), in_x = -scale * scale * all[1] / n, constant = -scale * all[0] / n - mean * in_x;
        S* gx = this->gx + blockIdx.y * gx_stride + at.start;
        for (int c = at.set; c < at.channels; c += at.sets) {
            NormLine<A> line(mean, scale, A(gain_by) * gain[c], A(shift_by) * shift[c]);
            NORM_UNROLL
            for (int p = at.lane; p < at.pixels; p += at.lanes) {
                A value = A(x[c * at.pixels + p]), g = line.passed(relu, A(gy[c * at.pixels + p]), value);
                gx[c * at.pixels + p] = S(fma(g, line.slope, fma(value, in_x, constant)));
            }
        }
    }
};
EXPORT_BLOCK(group_norm_backward)

// How a group's moments move with its input: the mean's tangent, and the mean of normalised numbers times tangents.
// Both are 0 where dx is null.
template <class A> struct NormMoved {
    A mean, dot;
    template <class S> DEVICE NormMoved(int numbers, const S* x, const S* dx, A center, A scale) : mean(0), dot(0) {
        if (!dx) return;
        A sums[2] = {0, 0};
        NORM_UNROLL
        for (int i = threadIdx.x; i < numbers; i += blockDim.x) {
            A d = A(dx[i]);
            sums[0] += d;
            sums[1] += (A(x[i]) - center) * scale * d;
        }
        norm_sums(sums, blockDim.x);
        mean = sums[0] / A(numbers);
        dot = sums[1] / A(numbers);
    }
    // the tangent of a normalised number
    DEVICE A normalised(A dx, A normalised, A scale) const { return scale * (dx - mean - normalised * dot); }
};

// Writes the tangent dy from those of x (null where it does not move), gain and shift.
template <class S> struct group_norm_tangent {
    typedef typename Arith<S>::T A;
    const S* x;
    i64 x_stride;
    const S* dx;
    i64 dx_stride;
    const A* gain;
    i64 gain_stride;
    const A* shift;
    i64 shift_stride;
    const A* dgain;
    i64 dgain_stride;
    const A* dshift;
    i64 dshift_stride;
    const A* saved;
    i64 saved_stride;
    S* dy;
    i64 dy_stride;
    i64 channels;
    i64 pixels;
    i64 groups;
    i64 lanes;
    i64 relu;
    double gain_by;
    double shift_by;
    DEVICE void run() const {
        NormGroup at(channels, pixels, groups, lanes);
        const S* x = this->x + blockIdx.y * x_stride + at.start;
        const S* dx = this->dx ? this->dx + blockIdx.y * dx_stride + at.start : nullptr;
        const A* gain = this->gain + blockIdx.y * gain_stride + at.first;
        const A* shift = this->shift + blockIdx.y * shift_stride + at.first;
        const A* dgain = this->dgain + blockIdx.y * dgain_stride + at.first;
        const A* dshift = this->dshift + blockIdx.y * dshift_stride + at.first;
        const A* saved = this->saved + blockIdx.y * saved_stride + 2 * (i64)blockIdx.x;
        S* dy = this->dy + blockIdx.y * dy_stride + at.start;
        A mean = saved[0], scale = saved[1];
        NormMoved<A> moved(at.numbers(), x, dx, mean, scale);
        for (int c = at.set; c < at.channels; c += at.sets) {
            NormLine<A> line(mean, scale, A(gain_by) * gain[c], A(shift_by) * shift[c]);
            A dg = A(gain_by) * dgain[c], ds = A(shift_by) * dshift[c];
            NORM_UNROLL
            for (int p = at.lane; p < at.pixels; p += at.lanes) {
                A value = A(x[c * at.pixels + p]), xh = line.normalised(value), tangent = dg * xh + ds;
                if (dx) tangent += line.gain * moved.normalised(A(dx[c * at.pixels + p]), xh, scale);
                dy[c * at.pixels + p] = S(line.passed(relu, tangent, value));
            }
        }
    }
};
EXPORT_BLOCK(group_norm_tangent)

// The tangent of the backward pass: dgx unless it is null, and unless it is null parts [batch, 2, channels], each
// example's parts of the tangents of the gradients of gain and shift, without multipliers.
template <class S> struct group_norm_backward_tangent {
    typedef typename Arith<S>::T A;
    const S* x;
    i64 x_stride;
    const S* dx;
    i64 dx_stride;
    const A* gain;
    i64 gain_stride;
    const A* shift;
    i64 shift_stride;
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
    i64 channels;
    i64 pixels;
    i64 groups;
    i64 lanes;
    i64 relu;
    double gain_by;
    double shift_by;
    DEVICE void run() const {
        NormGroup at(channels, pixels, groups, lanes);
        const S* x = this->x + blockIdx.y * x_stride + at.start;
        const S* dx = this->dx ? this->dx + blockIdx.y * dx_stride + at.start : nullptr;
        const A* gain = this->gain + blockIdx.y * gain_stride + at.first;
        const A* shift = this->shift + blockIdx.y * shift_stride + at.first;
        const A* dgain = this->dgain + blockIdx.y * dgain_stride + at.first;
        const A* saved = this->saved + blockIdx.y * saved_stride + 2 * (i64)blockIdx.x;
        const S* gy = this->gy + blockIdx.y * gy_stride + at.start;
        const S* dgy = this->dgy + blockIdx.y * dgy_stride + at.start;
        i64 example = blockIdx.x / (unsigned)groups;
        A* part = parts ? parts + blockIdx.y * parts_stride + example * 2 * channels + at.first : nullptr;
        A mean = saved[0], scale = saved[1];
        NormMoved<A> moved(at.numbers(), x, dx, mean, scale);
        // with the gradient before the gain, w: of w, w x̂, ẇ, and the tangent of w x̂
        A all[4] = {0, 0, 0, 0};
        for (int from = 0; from < at.channels; from += at.sets) {
            int c = from + at.set, end = c < at.channels ? at.pixels : 0;
            if (end == 0) c = 0;
            NormLine<A> line(mean, scale, A(gain_by) * gain[c], A(shift_by) * shift[c]);
            // of gy, gy x̂, its tangent, and the tangent of gy x̂
            A sums[4] = {0, 0, 0, 0};
            NORM_UNROLL
            for (int p = at.lane; p < end; p += at.lanes) {
                int i = c * at.pixels + p;
                A value = A(x[i]), xh = line.normalised(value);
                A g = line.passed(relu, A(gy[i]), value), dg = line.passed(relu, A(dgy[i]), value);
                A dxh = dx ? moved.normalised(A(dx[i]), xh, scale) : A(0);
                sums[0] += g;
                sums[1] += g * xh;
                sums[2] += dg;
                sums[3] += dg * xh + g * dxh;
            }
            norm_sums(sums, at.lanes);
            if (at.lane > 0 || end == 0) continue;
            if (part) {
                part[c] = sums[3];
                part[channels + c] = sums[2];
            }
            A dg = A(gain_by) * dgain[c];
            all[0] += line.gain * sums[0];
            all[1] += line.gain * sums[1];
            all[2] += line.gain * sums[2] + dg * sums[0];
            all[3] += line.gain * sums[3] + dg * sums[1];
        }
        if (!dgx) return;
        norm_sums(all, blockDim.x);
        A n = A(at.numbers()), of_w = all[0] / n, dot = all[1] / n, of_dw = all[2] / n, ddot = all[3] / n;
        A dscale = -scale * scale * moved.dot;
        S* dgx = this->dgx + blockIdx.y * dgx_stride + at.start;
        for (int c = at.set; c < at.channels; c += at.sets) {
            NormLine<A> line(mean, scale, A(gain_by) * gain[c], A(shift_by) * shift[c]);
            A dgain_here = A(gain_by) * dgain[c];
            NORM_UNROLL
            for (int p = at.lane; p < at.pixels; p += at.lanes) {
                int i = c * at.pixels + p;
                A value = A(x[i]), xh = line.normalised(value);
                A g = line.passed(relu, A(gy[i]), value), dg = line.passed(relu, A(dgy[i]), value);
                A dxh = dx ? moved.normalised(A(dx[i]), xh, scale) : A(0);
                A w = line.gain * g, dw = line.gain * dg + dgain_here * g;
                dgx[i] = S(dscale * (w - of_w - xh * dot) + scale * (dw - of_dw - dxh * dot - xh * ddot));
            }
        }
    }
};
EXPORT_BLOCK(group_norm_backward_tangent)

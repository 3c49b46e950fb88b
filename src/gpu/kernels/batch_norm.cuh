// Batch normalisation of x [batch, channels, pixels], with a relu at once where it is wanted.
//
// A channel's sums are taken in two steps. In the first the batch is split into runs of `run` examples, for each of
// which blocks sum: with `wide`, where a channel has many pixels, a block a channel; else a block 32 columns of
// [channels, pixels], with a warp for every eighth example. So parts are [sums, runs, columns], where a channel has
// `units` columns, 1 with `wide` and as many as pixels otherwise. In the second a warp sums a channel's parts.
#pragma once
#include "group_norm.cuh"

// What a channel is normalised by, and its line.
template <class S> struct BatchNormChannels {
    typedef typename Arith<S>::T A;
    const A* mean;
    i64 mean_stride;
    const A* var;
    i64 var_stride;
    const A* gain;
    i64 gain_stride;
    const A* shift;
    i64 shift_stride;
    double gain_by;
    double shift_by;
    double eps;
    i64 relu;
    DEVICE NormLine<A> line(int c) const {
        A scale = A(1) / sqrt(var[blockIdx.y * var_stride + c] + A(eps));
        return NormLine<A>(mean[blockIdx.y * mean_stride + c], scale, A(gain_by) * gain[blockIdx.y * gain_stride + c],
                           A(shift_by) * shift[blockIdx.y * shift_stride + c]);
    }
};

// How blocks take parts of the batch.
struct BatchNormRuns {
    i64 batch;
    i64 channels;
    i64 pixels;
    i64 run;
    i64 wide;
    i64 lanes;  // threads of a plane, with `wide`
    DEVICE int units() const { return wide ? 1 : (int)pixels; }
    DEVICE int columns() const { return (int)channels * units(); }
    DEVICE int runs() const { return (int)((batch + run - 1) / run); }
};

// A block's part of the sums.
struct BatchNormRun {
    int first, end;  // examples
    int column, columns, channel, runs, index;
    const BatchNormRuns& all;
    DEVICE BatchNormRun(const BatchNormRuns& all) : all(all) {
        columns = all.columns();
        int tiles = all.wide ? columns : (columns + WARP - 1) / WARP;
        index = (int)(blockIdx.x / (unsigned)tiles);
        int tile = (int)blockIdx.x - index * tiles;
        column = all.wide ? tile : tile * WARP + (int)(threadIdx.x % WARP);
        runs = all.runs();
        first = index * (int)all.run;
        end = first + (int)all.run;
        if (end > all.batch) end = (int)all.batch;
        // threads without a column take part in the sums
        if (column >= columns) end = first;
        channel = column < columns ? column / all.units() : 0;
    }
    // numbers of each column
    DEVICE int count() const { return (end - first) * (all.wide ? (int)all.pixels : 1); }
    // Adds `terms` of all numbers of this thread's column up, in all threads of the column.
    template <int N, class A, class Terms> DEVICE void sum(const Terms& terms, A (&sums)[N]) const {
        for (int k = 0; k < N; k++) sums[k] = 0;
        if (all.wide) {
            int lanes = (int)all.lanes, lane = threadIdx.x % lanes, pixels = (int)all.pixels;
            for (int n = first + (int)threadIdx.x / lanes; n < end; n += blockDim.x / lanes) {
                i64 plane = ((i64)n * all.channels + channel) * pixels;
                NORM_UNROLL
                for (int p = lane; p < pixels; p += lanes) terms.add(plane + p, sums);
            }
            norm_sums(sums, blockDim.x);
            return;
        }
        int warp = threadIdx.x / WARP, warps = blockDim.x / WARP, lane = threadIdx.x % WARP;
        NORM_UNROLL
        for (int n = first + warp; n < end; n += warps) terms.add((i64)n * columns + column, sums);
        SHARED(A, kept, N * 256);
        for (int k = 0; k < N; k++) kept[k * 256 + threadIdx.x] = sums[k];
        __syncthreads();
        for (int k = 0; k < N; k++) {
            sums[k] = 0;
            for (int i = 0; i < warps; i++) sums[k] += kept[k * 256 + i * WARP + lane];
        }
        __syncthreads();
    }
    // Keeps them as parts of this block.
    template <int N, class A> DEVICE void keep(const A (&sums)[N], A* parts) const {
        if (column >= columns || threadIdx.x / WARP > 0 || (all.wide && threadIdx.x > 0)) return;
        for (int k = 0; k < N; k++) parts[((i64)k * runs + index) * columns + column] = sums[k];
    }
};

// Parts [2, runs, columns]: means, and sums of squared distances from them.
template <class S> struct batch_norm_moments {
    typedef typename Arith<S>::T A;
    const S* x;
    i64 x_stride;
    A* parts;
    i64 parts_stride;
    BatchNormRuns runs;
    struct Distances {
        const S* x;
        A from;
        bool square;
        DEVICE void add(i64 i, A (&sums)[1]) const {
            A off = A(x[i]) - from;
            sums[0] += square ? off * off : off;
        }
    };
    DEVICE void run() const {
        BatchNormRun at(runs);
        const S* x = this->x + blockIdx.y * x_stride;
        A sum[1], moments[2];
        at.sum(Distances{x, A(0), false}, sum);
        moments[0] = sum[0] / A(at.count());
        at.sum(Distances{x, moments[0], true}, sum);
        moments[1] = sum[0];
        at.keep(moments, parts + blockIdx.y * parts_stride);
    }
};
EXPORT_BLOCK(batch_norm_moments)

// A channel's parts, for the warp that sums them.
template <class A> struct BatchNormParts {
    const A* parts;
    int channel, units, columns, runs;
    DEVICE BatchNormParts(const A* parts, int channel, const BatchNormRuns& all)
        : parts(parts), channel(channel), units(all.units()), columns(all.columns()), runs(all.runs()) {}
    DEVICE int count() const { return runs * units; }
    DEVICE int run(int i) const { return i / units; }
    DEVICE A get(int k, int i) const {
        int run = i / units;
        return parts[((i64)k * runs + run) * columns + channel * units + (i - run * units)];
    }
};

// mean [channels] and var [channels] (biased) from the parts of batch_norm_moments. A warp takes a channel.
template <class A> struct batch_norm_joined {
    const A* parts;
    i64 parts_stride;
    A* mean;
    i64 mean_stride;
    A* var;
    i64 var_stride;
    BatchNormRuns runs;
    // numbers that part i is of
    DEVICE A numbers(const BatchNormParts<A>& p, int i) const {
        i64 first = p.run(i) * runs.run, end = first + runs.run < runs.batch ? first + runs.run : runs.batch;
        return A((end - first) * (runs.wide ? runs.pixels : 1));
    }
    DEVICE void run() const {
        int c = (int)(first_index() / WARP), lane = threadIdx.x % WARP;
        if (c >= runs.channels) return;
        BatchNormParts<A> p(parts + blockIdx.y * parts_stride, c, runs);
        A n = A(runs.batch * runs.pixels), sum[1] = {0}, squares[1] = {0};
        for (int i = lane; i < p.count(); i += WARP) sum[0] += numbers(p, i) * p.get(0, i);
        norm_sums(sum, WARP);
        A mean = sum[0] / n;
        for (int i = lane; i < p.count(); i += WARP) {
            A off = p.get(0, i) - mean;
            squares[0] += p.get(1, i) + numbers(p, i) * off * off;
        }
        norm_sums(squares, WARP);
        if (lane > 0) return;
        this->mean[blockIdx.y * mean_stride + c] = mean;
        var[blockIdx.y * var_stride + c] = squares[0] / n;
    }
};
EXPORT_ARITH_BLOCK(batch_norm_joined)

// The planes [pixels] that a thread takes numbers of, `lanes` threads to each; if the grid is so long, all of a channel.
struct BatchNormPlanes {
    int lane, channel, step_channels, channels;
    i64 plane, planes, step;
    DEVICE BatchNormPlanes(const BatchNormRuns& all, int lanes) : channels((int)all.channels) {
        int set = threadIdx.x / lanes, sets = blockDim.x / lanes;
        lane = threadIdx.x % lanes;
        plane = (i64)blockIdx.x * sets + set;
        planes = all.batch * all.channels;
        step = (i64)gridDim.x * sets;
        channel = (int)(plane % channels);
        step_channels = (int)(step % channels);
    }
    DEVICE bool any() const { return plane < planes; }
    DEVICE void next() {
        plane += step;
        channel += step_channels;
        if (channel >= channels) channel -= channels;
    }
};

// y = gain (x − mean) / √(var + eps) + shift, then the relu.
template <class S> struct batch_norm_forward {
    typedef typename Arith<S>::T A;
    BatchNormChannels<S> norm;
    const S* x;
    i64 x_stride;
    S* y;
    i64 y_stride;
    BatchNormRuns sizes;
    i64 lanes;
    DEVICE void run() const {
        const S* x = this->x + blockIdx.y * x_stride;
        S* y = this->y + blockIdx.y * y_stride;
        bool relu = norm.relu;
        int lanes = (int)this->lanes, pixels = (int)sizes.pixels;
        int channel = -1;
        NormLine<A> line;
        for (BatchNormPlanes at(sizes, lanes); at.any(); at.next()) {
            if (at.channel != channel) line = norm.line(channel = at.channel);
            const S* from = x + at.plane * pixels;
            S* to = y + at.plane * pixels;
            NORM_UNROLL
            for (int p = at.lane; p < pixels; p += lanes) {
                A value = fma(A(from[p]), line.slope, line.offset);
                to[p] = S(relu && value < A(0) ? A(0) : value);
            }
        }
    }
};
EXPORT(batch_norm_forward)

enum { BATCH_NORM_BACKWARD, BATCH_NORM_TANGENT, BATCH_NORM_BACKWARD_TANGENT };

// How many sums of a channel a pass needs: backward of g, g x̂; for the tangent ẋ, x̂ ẋ; for the tangent of backward g,
// g x̂, ġ, ġ x̂, ẋ, x̂ ẋ, g ẋ; with g, the gradient of the output behind the relu.
template <int PASS> struct BatchNormSums { enum { COUNT = PASS == BATCH_NORM_BACKWARD_TANGENT ? 7 : 2 }; };

// Their parts [sums, runs, columns]. Of gy, dgy and dx there are those that the pass is from; dx may be null.
template <class S, int PASS> struct batch_norm_sums {
    typedef typename Arith<S>::T A;
    enum { N = BatchNormSums<PASS>::COUNT };
    BatchNormChannels<S> norm;
    const S* x;
    i64 x_stride;
    const S* gy;
    i64 gy_stride;
    const S* dgy;
    i64 dgy_stride;
    const S* dx;
    i64 dx_stride;
    A* parts;
    i64 parts_stride;
    BatchNormRuns runs;
    struct Terms {
        NormLine<A> line;
        bool relu;
        const S *x, *gy, *dgy, *dx;
        DEVICE void add(i64 i, A (&sums)[N]) const {
            A value = A(x[i]), xh = line.normalised(value);
            if (PASS == BATCH_NORM_TANGENT) {
                A d = A(dx[i]);
                sums[0] += d;
                sums[1] += xh * d;
                return;
            }
            A g = line.passed(relu, A(gy[i]), value);
            sums[0] += g;
            sums[1] += g * xh;
            if (PASS == BATCH_NORM_BACKWARD) return;
            A dg = line.passed(relu, A(dgy[i]), value), d = dx ? A(dx[i]) : A(0);
            sums[N > 2 ? 2 : 0] += dg;
            sums[N > 2 ? 3 : 0] += dg * xh;
            sums[N > 2 ? 4 : 0] += d;
            sums[N > 2 ? 5 : 0] += xh * d;
            sums[N > 2 ? 6 : 0] += g * d;
        }
    };
    DEVICE void run() const {
        BatchNormRun at(runs);
        A sums[N];
        Terms terms{norm.line(at.channel), norm.relu != 0, x + blockIdx.y * x_stride, gy, dgy, dx};
        if (gy) terms.gy += blockIdx.y * gy_stride;
        if (dgy) terms.dgy += blockIdx.y * dgy_stride;
        if (dx) terms.dx += blockIdx.y * dx_stride;
        at.sum(terms, sums);
        at.keep(sums, parts + blockIdx.y * parts_stride);
    }
};
template <class S> struct batch_norm_backward_sums : batch_norm_sums<S, BATCH_NORM_BACKWARD> {};
template <class S> struct batch_norm_tangent_sums : batch_norm_sums<S, BATCH_NORM_TANGENT> {};
template <class S> struct batch_norm_backward_tangent_sums : batch_norm_sums<S, BATCH_NORM_BACKWARD_TANGENT> {};
EXPORT_BLOCK(batch_norm_backward_sums)
EXPORT_BLOCK(batch_norm_tangent_sums)
EXPORT_BLOCK(batch_norm_backward_tangent_sums)

// A channel's line in gradient, its tangent, input and its tangent, as lines [5, channels] have it.
template <class A> struct BatchNormLine {
    A in_gy, in_dgy, in_x, in_dx, constant;
};

// From a channel's sums (0 where `parts` is null) its line for the pass, and unless they are null the gradients of gain
// and shift, and zeros for those of the running estimates. With `own` the moments are the input's and move with it. A
// warp takes a channel.
template <class A, int PASS> struct batch_norm_lines {
    enum { N = BatchNormSums<PASS>::COUNT };
    BatchNormChannels<A> norm;
    const A* dgain;
    i64 dgain_stride;
    const A* dshift;
    i64 dshift_stride;
    const A* parts;
    i64 parts_stride;
    A* lines;
    i64 lines_stride;
    A* gain_gradient;
    i64 gain_gradient_stride;
    A* shift_gradient;
    i64 shift_gradient_stride;
    A* mean_gradient;
    i64 mean_gradient_stride;
    A* var_gradient;
    i64 var_gradient_stride;
    BatchNormRuns runs;
    i64 own;
    DEVICE void run() const {
        int c = (int)(first_index() / WARP), lane = threadIdx.x % WARP;
        if (c >= runs.channels) return;
        A sums[N] = {};
        if (parts) {
            BatchNormParts<A> p(parts + blockIdx.y * parts_stride, c, runs);
            for (int i = lane; i < p.count(); i += WARP)
                for (int k = 0; k < N; k++) sums[k] += p.get(k, i);
            norm_sums(sums, WARP);
        }
        if (lane > 0) return;
        // means over the channel; a running estimate does not move
        A means[N], each = own ? A(1) / A(runs.batch * runs.pixels) : A(0);
        for (int k = 0; k < N; k++) means[k] = sums[k] * each;
        A gradients[2] = {0, 0};
        BatchNormLine<A> line = channel(norm.line(c), c, sums, means, gradients);
        A* to = lines + blockIdx.y * lines_stride + c;
        to[0] = line.in_gy;
        to[runs.channels] = line.in_dgy;
        to[2 * runs.channels] = line.in_x;
        to[3 * runs.channels] = line.in_dx;
        to[4 * runs.channels] = line.constant;
        if (!gain_gradient) return;
        gain_gradient[blockIdx.y * gain_gradient_stride + c] = A(norm.gain_by) * gradients[0];
        shift_gradient[blockIdx.y * shift_gradient_stride + c] = A(norm.shift_by) * gradients[1];
        mean_gradient[blockIdx.y * mean_gradient_stride + c] = 0;
        var_gradient[blockIdx.y * var_gradient_stride + c] = 0;
    }
    DEVICE BatchNormLine<A> channel(NormLine<A> c, int index, const A (&sums)[N], const A (&means)[N],
                                    A (&gradients)[2]) const {
        if (PASS == BATCH_NORM_BACKWARD) {
            gradients[0] = sums[1];
            gradients[1] = sums[0];
            A in_x = -c.slope * c.scale * means[1];
            return BatchNormLine<A>{c.slope, 0, in_x, 0, -c.slope * means[0] - c.mean * in_x};
        }
        A gain_by = A(norm.gain_by), dg = dgain[blockIdx.y * dgain_stride + index];
        if (PASS == BATCH_NORM_TANGENT) {
            A ds = A(norm.shift_by) * dshift[blockIdx.y * dshift_stride + index];
            A in_x = c.scale * (gain_by * dg - c.slope * means[1]);
            return BatchNormLine<A>{0, 0, in_x, c.slope, ds - c.mean * in_x - c.slope * means[0]};
        }
        // numbers of sums that only this pass has
        enum { DG = N > 2 ? 2 : 0, DG_XH = N > 2 ? 3 : 0, DX = N > 2 ? 4 : 0, XH_DX = N > 2 ? 5 : 0, G_DX = N > 2 ? 6 : 0 };
        // sums of g times the tangent of x̂, and of the tangent of g x̂
        A g_dxh = c.scale * (sums[G_DX] - means[DX] * sums[0] - means[XH_DX] * sums[1]);
        gradients[0] = sums[DG_XH] + g_dxh;
        gradients[1] = sums[DG];
        A dg_xh = own ? gradients[0] / A(runs.batch * runs.pixels) : A(0);
        A dslope = c.scale * (gain_by * dg - c.slope * means[XH_DX]);
        A in_dxh = -c.slope * means[1];
        A in_x = c.scale * (-dslope * means[1] - c.slope * dg_xh - in_dxh * c.scale * means[XH_DX]);
        return BatchNormLine<A>{dslope, c.slope, in_x, in_dxh * c.scale,
                                -dslope * means[0] - c.slope * means[DG] - in_dxh * c.scale * means[DX] - c.mean * in_x};
    }
};
template <class A> struct batch_norm_backward_lines : batch_norm_lines<A, BATCH_NORM_BACKWARD> {};
template <class A> struct batch_norm_tangent_lines : batch_norm_lines<A, BATCH_NORM_TANGENT> {};
template <class A> struct batch_norm_backward_tangent_lines : batch_norm_lines<A, BATCH_NORM_BACKWARD_TANGENT> {};
EXPORT_ARITH_BLOCK(batch_norm_backward_lines)
EXPORT_ARITH_BLOCK(batch_norm_tangent_lines)
EXPORT_ARITH_BLOCK(batch_norm_backward_tangent_lines)

// What a pass writes, by the channels' lines [5, channels]: in gradients, behind the relu, plus in inputs; the tangent's
// all is behind the relu.
template <class S, int PASS> struct batch_norm_apply {
    typedef typename Arith<S>::T A;
    BatchNormChannels<S> norm;
    const S* x;
    i64 x_stride;
    const S* gy;
    i64 gy_stride;
    const S* dgy;
    i64 dgy_stride;
    const S* dx;
    i64 dx_stride;
    const A* lines;
    i64 lines_stride;
    S* to;
    i64 to_stride;
    BatchNormRuns sizes;
    i64 lanes;
    DEVICE void run() const {
        const A* lines = this->lines + blockIdx.y * lines_stride;
        bool relu = norm.relu;
        int lanes = (int)this->lanes, pixels = (int)sizes.pixels, channels = (int)sizes.channels;
        int channel = -1;
        NormLine<A> line;
        A in_gy = 0, in_dgy = 0, in_x = 0, in_dx = 0, constant = 0;
        for (BatchNormPlanes at(sizes, lanes); at.any(); at.next()) {
            if (at.channel != channel) {
                line = norm.line(channel = at.channel);
                const A* in = lines + channel;
                in_gy = in[0], in_dgy = in[channels], in_x = in[2 * channels], in_dx = in[3 * channels];
                constant = in[4 * channels];
            }
            i64 plane = at.plane * pixels;
            const S* x = this->x + blockIdx.y * x_stride + plane;
            const S* gy = this->gy + blockIdx.y * gy_stride + plane;
            const S* dgy = this->dgy + blockIdx.y * dgy_stride + plane;
            const S* dx = this->dx ? this->dx + blockIdx.y * dx_stride + plane : nullptr;
            S* to = this->to + blockIdx.y * to_stride + plane;
            NORM_UNROLL
            for (int p = at.lane; p < pixels; p += lanes) {
                A value = A(x[p]), rest = fma(value, in_x, constant);
                if (PASS != BATCH_NORM_BACKWARD && dx) rest = fma(A(dx[p]), in_dx, rest);
                if (PASS == BATCH_NORM_TANGENT) {
                    to[p] = S(line.passed(relu, rest, value));
                    continue;
                }
                A through = A(gy[p]) * in_gy;
                if (PASS == BATCH_NORM_BACKWARD_TANGENT) through = fma(A(dgy[p]), in_dgy, through);
                to[p] = S(line.passed(relu, through, value) + rest);
            }
        }
    }
};
template <class S> struct batch_norm_backward : batch_norm_apply<S, BATCH_NORM_BACKWARD> {};
template <class S> struct batch_norm_tangent : batch_norm_apply<S, BATCH_NORM_TANGENT> {};
template <class S> struct batch_norm_backward_tangent : batch_norm_apply<S, BATCH_NORM_BACKWARD_TANGENT> {};
EXPORT(batch_norm_backward)
EXPORT(batch_norm_tangent)
EXPORT(batch_norm_backward_tangent)

// Moves running estimates [channels] of a member whose entry of `active` is not 0 towards the batch's moments.
template <class A> struct batch_norm_update {
    const A* mean;
    i64 mean_stride;
    const A* var;
    i64 var_stride;
    A* running_mean;
    i64 running_mean_stride;
    A* running_var;
    i64 running_var_stride;
    const unsigned* active;
    i64 channels;
    double momentum;
    double unbiased;
    DEVICE void run() const {
        if (!active[blockIdx.y]) return;
        const A* mean = this->mean + blockIdx.y * mean_stride;
        const A* var = this->var + blockIdx.y * var_stride;
        A* running_mean = this->running_mean + blockIdx.y * running_mean_stride;
        A* running_var = this->running_var + blockIdx.y * running_var_stride;
        for (i64 c = first_index(); c < channels; c += index_step()) {
            running_mean[c] += A(momentum) * (mean[c] - running_mean[c]);
            running_var[c] += A(momentum) * (A(unbiased) * var[c] - running_var[c]);
        }
    }
};
EXPORT_ARITH(batch_norm_update)

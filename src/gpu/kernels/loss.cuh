// Losses with their gradients, and the tangents of the gradients, as `tensor/loss/` has them. Sums are of doubles.
//
// Rows are shared by the threads of a warp, or with `wide` by those of a block.
#pragma once
#include "common.cuh"

// The row of this thread, and which numbers of it are the thread's: from `lane` on at distance `lanes`.
struct LossRow {
    i64 row;
    int lane, lanes;
    DEVICE LossRow(bool wide) {
        lanes = wide ? (int)blockDim.x : WARP;
        lane = wide ? (int)threadIdx.x : (int)threadIdx.x % WARP;
        row = wide ? (i64)blockIdx.x : (i64)blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    }
};

DEVICE double loss_row_sum(double x, bool wide) { return wide ? block_sum(x) : warp_sum(x); }

// The largest logit z of a row, and the sums of e = exp(z − largest) and of e dz, in one pass: sums so far are scaled
// when a larger logit comes.
template <class A> struct Softmax {
    A largest;
    double total, dot;
    DEVICE Softmax() : largest(A(-INFINITY)), total(0), dot(0) {}
    DEVICE void add(A z, A dz) {
        if (z > largest) {
            double by = double(exp(largest - z));
            total = total * by + 1;
            dot = dot * by + double(dz);
            largest = z;
        } else {
            // −∞ is no less than itself
            double e = z == largest ? 1.0 : double(exp(z - largest));
            total += e;
            dot += e * double(dz);
        }
    }
    // What all threads of a row have.
    DEVICE void join(bool wide) {
        A all = wide ? block_max(largest) : warp_max(largest);
        double by = double(exp(largest - all));
        largest = all;
        total = loss_row_sum(total * by, wide);
        dot = loss_row_sum(dot * by, wide);
    }
};

// losses [rows], −log of the softmax of logits [rows, width] at the class of the row, which all members share; NaN for
// a class that is not below width. The gradient of the mean of the losses [rows, width], unless it is null.
template <class S> struct cross_entropy {
    typedef typename Arith<S>::T A;
    const S* logits;
    i64 logits_stride;
    const unsigned* classes;
    double* losses;
    i64 losses_stride;
    S* gradient;
    i64 gradient_stride;
    i64 rows;
    i64 width;
    i64 wide;
    DEVICE void run() const {
        LossRow at(wide != 0);
        if (at.row >= rows) return;
        const S* z = logits + blockIdx.y * logits_stride + at.row * width;
        int count = (int)width;
        Softmax<A> softmax;
        for (int j = at.lane; j < count; j += at.lanes) softmax.add(A(z[j]), A(0));
        softmax.join(wide != 0);
        unsigned label = classes[at.row];
        bool known = label < (unsigned)count;
        if (at.lane == 0) {
            double loss = known ? log(softmax.total) - double(A(z[label]) - softmax.largest) : double(NAN);
            (losses + blockIdx.y * losses_stride)[at.row] = loss;
        }
        if (!gradient) return;
        S* to = gradient + blockIdx.y * gradient_stride + at.row * width;
        A per_row = A(1.0 / double(rows)), factor = per_row / A(softmax.total);
        for (int j = at.lane; j < count; j += at.lanes) {
            A share = exp(A(z[j]) - softmax.largest) * factor;
            to[j] = S(known && j == (int)label ? share - per_row : share);
        }
    }
};
EXPORT_BLOCK(cross_entropy)

// The tangent of the gradient of cross_entropy from that of the logits: p (dz − p · dz) / rows with the softmax p.
template <class S> struct cross_entropy_tangent {
    typedef typename Arith<S>::T A;
    const S* logits;
    i64 logits_stride;
    const S* dlogits;
    i64 dlogits_stride;
    S* dgradient;
    i64 dgradient_stride;
    i64 rows;
    i64 width;
    i64 wide;
    DEVICE void run() const {
        LossRow at(wide != 0);
        if (at.row >= rows) return;
        const S* z = logits + blockIdx.y * logits_stride + at.row * width;
        const S* dz = dlogits + blockIdx.y * dlogits_stride + at.row * width;
        S* to = dgradient + blockIdx.y * dgradient_stride + at.row * width;
        int count = (int)width;
        Softmax<A> softmax;
        for (int j = at.lane; j < count; j += at.lanes) softmax.add(A(z[j]), A(dz[j]));
        softmax.join(wide != 0);
        A mean = A(softmax.dot / softmax.total), factor = A(1.0 / double(rows)) / A(softmax.total);
        for (int j = at.lane; j < count; j += at.lanes)
            to[j] = S(exp(A(z[j]) - softmax.largest) * factor * (A(dz[j]) - mean));
    }
};
EXPORT_BLOCK(cross_entropy_tangent)

// losses [rows], the sums of (output − target)² of outputs [rows, width]; all members share the targets. The gradient
// of their sum divided by rows · width [rows, width], unless it is null.
template <class S> struct mse {
    typedef typename Arith<S>::T A;
    const S* outputs;
    i64 outputs_stride;
    const double* targets;
    double* losses;
    i64 losses_stride;
    S* gradient;
    i64 gradient_stride;
    i64 rows;
    i64 width;
    i64 wide;
    DEVICE void run() const {
        LossRow at(wide != 0);
        if (at.row >= rows) return;
        const S* outputs = this->outputs + blockIdx.y * outputs_stride + at.row * width;
        const double* targets = this->targets + at.row * width;
        S* to = gradient + blockIdx.y * gradient_stride + at.row * width;
        double scale = 2.0 / double(rows * width), sum = 0;
        for (int j = at.lane; j < (int)width; j += at.lanes) {
            double off = double(A(outputs[j])) - targets[j];
            if (gradient) to[j] = S(A(scale * off));
            sum += off * off;
        }
        sum = loss_row_sum(sum, wide != 0);
        if (at.lane == 0) (losses + blockIdx.y * losses_stride)[at.row] = sum;
    }
};
EXPORT_BLOCK(mse)

// The tangent of the gradient of mse from that of the outputs: 2 / n of it, for the n numbers of a member.
template <class S> struct mse_tangent {
    typedef typename Arith<S>::T A;
    const S* doutputs;
    i64 doutputs_stride;
    S* dgradient;
    i64 dgradient_stride;
    i64 n;
    DEVICE void run() const {
        const S* from = doutputs + blockIdx.y * doutputs_stride;
        S* to = dgradient + blockIdx.y * dgradient_stride;
        A scale = A(2.0 / double(n));
        for (i64 i = first_index(); i < n; i += index_step()) to[i] = S(scale * A(from[i]));
    }
};
EXPORT(mse_tangent)

// losses [members] = factor times the sum of numbers [rows] of a member; one that is not finite sets the member's word
// of `active` (unless that is null) to 0. A block for each member.
struct mean_of_rows {
    const double* numbers;
    i64 numbers_stride;
    i64 rows;
    double factor;
    double* losses;
    unsigned* active;
    DEVICE void run() const {
        const double* numbers = this->numbers + blockIdx.y * numbers_stride;
        double sum = 0;
        for (i64 row = threadIdx.x; row < rows; row += blockDim.x) sum += numbers[row];
        double loss = factor * block_sum(sum);
        if (threadIdx.x > 0) return;
        losses[blockIdx.y] = loss;
        if (active && !isfinite(loss)) active[blockIdx.y] = 0;
    }
};
ENTRY(mean_of_rows_plain, mean_of_rows, true)

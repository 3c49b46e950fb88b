// Losses and right answers of single rows of outputs, of each member and of the ensemble, as `metrics/scores.rs` has
// them for whole batches.
#pragma once
#include "loss.cuh"

// Where labels of rows are, and where what is found goes: losses and right answers (1 or 0) [members + 1, rows], the
// ensemble's last. Targets are those of classes, one-hot, where `targets` is null; where `classes` is, nothing is right.
struct RowScores {
    const unsigned* classes;
    const double* targets;
    double* losses;
    double* right;
    i64 rows;
    i64 width;
    i64 cross_entropy;
    i64 wide;

    // Of the row whose outputs are z(0), z(1), …; among equal outputs the first is the answer.
    template <class A, class Row> DEVICE void find(const Row& z, i64 predictor, const LossRow& at) const {
        bool wide = this->wide != 0;
        int count = (int)width, label = classes ? (int)classes[at.row] : -1;
        A own = label >= 0 ? z(label) : A(0);
        double before = 0, squares = 0;
        Softmax<A> softmax;
        for (int j = at.lane; j < count; j += at.lanes) {
            A output = z(j);
            if (output > own || (output == own && j < label)) before += 1;
            if (cross_entropy) {
                softmax.add(output, A(0));
            } else {
                double off = double(output) - (targets ? targets[at.row * width + j] : double(j == label));
                squares += off * off;
            }
        }
        before = loss_row_sum(before, wide);
        squares = loss_row_sum(squares, wide);
        if (cross_entropy) softmax.join(wide);
        if (at.lane > 0) return;
        double loss = cross_entropy ? log(softmax.total) - double(own - softmax.largest) : squares / double(width);
        losses[predictor * rows + at.row] = loss;
        right[predictor * rows + at.row] = label >= 0 && before == 0 ? 1 : 0;
    }
};

// The scores of every member for outputs [rows, width]. One with an output that is not finite sets its word of
// `finite` to 0.
template <class S> struct member_scores {
    typedef typename Arith<S>::T A;
    const S* outputs;
    i64 outputs_stride;
    unsigned* finite;
    RowScores scores;
    DEVICE void run() const {
        LossRow at(scores.wide != 0);
        if (at.row >= scores.rows) return;
        const S* z = outputs + blockIdx.y * outputs_stride + at.row * scores.width;
        for (int j = at.lane; j < (int)scores.width; j += at.lanes)
            if (!isfinite(A(z[j]))) finite[blockIdx.y] = 0;
        scores.template find<A>([z](int j) { return A(z[j]); }, blockIdx.y, at);
    }
};
EXPORT_BLOCK(member_scores)

// The scores of the mean of the outputs of those members whose word of `finite` is not 0, in doubles.
template <class S> struct ensemble_scores {
    typedef typename Arith<S>::T A;
    const S* outputs;
    i64 outputs_stride;
    const unsigned* finite;
    i64 members;
    RowScores scores;
    DEVICE void run() const {
        LossRow at(scores.wide != 0);
        if (at.row >= scores.rows) return;
        int count = 0;
        for (i64 member = 0; member < members; member++) count += finite[member] != 0;
        const ensemble_scores& all = *this;
        const S* z = outputs + at.row * scores.width;
        auto mean = [&all, z, count](int j) {
            double sum = 0;
            for (i64 member = 0; member < all.members; member++)
                if (all.finite[member]) sum += double(A(z[member * all.outputs_stride + j]));
            return sum / double(count);
        };
        scores.template find<double>(mean, members, at);
    }
};
EXPORT_BLOCK(ensemble_scores)

// RMS normalisation of queries and keys.
//
// A position's numbers are 3 heads segments of `size`: queries, keys, values of the heads. A segment is what a row is in
// row_norm.cuh; those of values are copied.
#pragma once
#include "row_norm.cuh"

// A segment that threads share.
template <class A> struct QkSegment {
    NormRow share;  // no numbers for one of values
    i64 at;         // of its first number
    i64 saved;
    bool key;
    int copied;  // numbers to copy
    DEVICE QkSegment(const NormRows& all, i64 first, int heads) : share(all.share(first)) {
        int row = all.row(first), position = row / (3 * heads), segment = row - position * 3 * heads;
        bool value = segment >= 2 * heads;
        at = (i64)row * all.count;
        // what is saved of values is not there: that of another segment is read instead, and nothing comes of it
        saved = (i64)position * 2 * heads + (value ? 0 : segment);
        key = segment >= heads;
        copied = value ? share.end : 0;
        if (value) share.end = 0;
    }
    // values of `to` are those of `from`, 0 where it is null
    template <class S> DEVICE void copy(const S* from, S* to) const {
        for (int j = share.lane; j < copied; j += share.lanes) to[at + j] = from ? from[at + j] : S(0.f);
    }
};

// Forward pass over x [positions, 3, heads, size]; saved [positions, 2, heads].
template <class S> struct qk_norm_forward {
    typedef typename Arith<S>::T A;
    const S* x;
    i64 x_stride;
    const A* query;
    i64 query_stride;
    const A* key;
    i64 key_stride;
    S* y;
    i64 y_stride;
    A* saved;
    i64 saved_stride;
    i64 positions;
    i64 heads;
    i64 size;
    i64 lanes;
    double query_by;
    double key_by;
    double eps;
    DEVICE void run() const {
        const S* x = this->x + blockIdx.y * x_stride;
        const A* query = this->query + blockIdx.y * query_stride;
        const A* key = this->key + blockIdx.y * key_stride;
        S* y = this->y + blockIdx.y * y_stride;
        A* saved = this->saved + blockIdx.y * saved_stride;
        i64 rows = positions * 3 * heads;
        NormRows all(rows, size, lanes);
        for (i64 first = all.begin(); first < rows; first += all.step()) {
            QkSegment<A> s(all, first, (int)heads);
            norm_row_forward<false>(s.share, x + s.at, s.key ? key : query, A(s.key ? key_by : query_by),
                                    (const A*)nullptr, A(0), A(eps), y + s.at, saved + s.saved);
            s.copy(x, y);
        }
    }
};
EXPORT_BLOCK(qk_norm_forward)

// Backward pass: gx unless it is null, and in `parts`, unless it is null, each block's sums [query, key] of the
// gradients of the gains, without multipliers.
template <class S> struct qk_norm_backward {
    typedef typename Arith<S>::T A;
    const S* x;
    i64 x_stride;
    const A* query;
    i64 query_stride;
    const A* key;
    i64 key_stride;
    const A* saved;
    i64 saved_stride;
    const S* gy;
    i64 gy_stride;
    S* gx;
    i64 gx_stride;
    A* parts;
    i64 parts_stride;
    i64 pitch;
    i64 positions;
    i64 heads;
    i64 size;
    i64 lanes;
    double query_by;
    double key_by;
    DEVICE void run() const {
        const S* x = this->x + blockIdx.y * x_stride;
        const A* query = this->query + blockIdx.y * query_stride;
        const A* key = this->key + blockIdx.y * key_stride;
        const A* saved = this->saved + blockIdx.y * saved_stride;
        const S* gy = this->gy + blockIdx.y * gy_stride;
        S* gx = this->gx ? this->gx + blockIdx.y * gx_stride : nullptr;
        A* parts = this->parts ? this->parts + blockIdx.y * parts_stride : nullptr;
        i64 rows = positions * 3 * heads;
        NormRows all(rows, size, lanes);
        NormParts<A> sums(parts, 2 * size, pitch, all);
        for (i64 first = all.begin(); first < rows; first += all.step()) {
            QkSegment<A> s(all, first, (int)heads);
            A* kept = sums.mine ? sums.mine + (s.key ? size : 0) : nullptr;
            norm_row_backward<false>(s.share, x + s.at, s.key ? key : query, A(s.key ? key_by : query_by),
                                     saved + s.saved, gy + s.at, gx ? gx + s.at : nullptr, kept);
            if (gx) s.copy(gy, gx);
        }
        sums.finish();
    }
};
EXPORT_BLOCK(qk_norm_backward)

// The tangent dy from those of x (null where it does not move) and the gains.
template <class S> struct qk_norm_tangent {
    typedef typename Arith<S>::T A;
    const S* x;
    i64 x_stride;
    const S* dx;
    i64 dx_stride;
    const A* query;
    i64 query_stride;
    const A* key;
    i64 key_stride;
    const A* dquery;
    i64 dquery_stride;
    const A* dkey;
    i64 dkey_stride;
    const A* saved;
    i64 saved_stride;
    S* dy;
    i64 dy_stride;
    i64 positions;
    i64 heads;
    i64 size;
    i64 lanes;
    double query_by;
    double key_by;
    DEVICE void run() const {
        const S* x = this->x + blockIdx.y * x_stride;
        const S* dx = this->dx ? this->dx + blockIdx.y * dx_stride : nullptr;
        const A* query = this->query + blockIdx.y * query_stride;
        const A* key = this->key + blockIdx.y * key_stride;
        const A* dquery = this->dquery + blockIdx.y * dquery_stride;
        const A* dkey = this->dkey + blockIdx.y * dkey_stride;
        const A* saved = this->saved + blockIdx.y * saved_stride;
        S* dy = this->dy + blockIdx.y * dy_stride;
        i64 rows = positions * 3 * heads;
        NormRows all(rows, size, lanes);
        for (i64 first = all.begin(); first < rows; first += all.step()) {
            QkSegment<A> s(all, first, (int)heads);
            norm_row_tangent<false>(s.share, x + s.at, dx ? dx + s.at : nullptr, s.key ? key : query,
                                    s.key ? dkey : dquery, A(s.key ? key_by : query_by), (const A*)nullptr, A(0),
                                    saved + s.saved, dy + s.at);
            s.copy(dx, dy);
        }
    }
};
EXPORT_BLOCK(qk_norm_tangent)

// The tangent of the backward pass, as that.
template <class S> struct qk_norm_backward_tangent {
    typedef typename Arith<S>::T A;
    const S* x;
    i64 x_stride;
    const S* dx;
    i64 dx_stride;
    const A* query;
    i64 query_stride;
    const A* key;
    i64 key_stride;
    const A* dquery;
    i64 dquery_stride;
    const A* dkey;
    i64 dkey_stride;
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
    i64 positions;
    i64 heads;
    i64 size;
    i64 lanes;
    double query_by;
    double key_by;
    DEVICE void run() const {
        const S* x = this->x + blockIdx.y * x_stride;
        const S* dx = this->dx ? this->dx + blockIdx.y * dx_stride : nullptr;
        const A* query = this->query + blockIdx.y * query_stride;
        const A* key = this->key + blockIdx.y * key_stride;
        const A* dquery = this->dquery + blockIdx.y * dquery_stride;
        const A* dkey = this->dkey + blockIdx.y * dkey_stride;
        const A* saved = this->saved + blockIdx.y * saved_stride;
        const S* gy = this->gy + blockIdx.y * gy_stride;
        const S* dgy = this->dgy + blockIdx.y * dgy_stride;
        S* dgx = this->dgx ? this->dgx + blockIdx.y * dgx_stride : nullptr;
        A* parts = this->parts ? this->parts + blockIdx.y * parts_stride : nullptr;
        i64 rows = positions * 3 * heads;
        NormRows all(rows, size, lanes);
        NormParts<A> sums(parts, 2 * size, pitch, all);
        for (i64 first = all.begin(); first < rows; first += all.step()) {
            QkSegment<A> s(all, first, (int)heads);
            A* kept = sums.mine ? sums.mine + (s.key ? size : 0) : nullptr;
            norm_row_backward_tangent<false>(s.share, x + s.at, dx ? dx + s.at : nullptr, s.key ? key : query,
                                             s.key ? dkey : dquery, A(s.key ? key_by : query_by), saved + s.saved,
                                             gy + s.at, dgy + s.at, dgx ? dgx + s.at : nullptr, kept);
            if (dgx) s.copy(dgy, dgx);
        }
        sums.finish();
    }
};
EXPORT_BLOCK(qk_norm_backward_tangent)

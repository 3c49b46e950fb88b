// The derivatives of attention's passes in a direction. With scores s, probabilities p and h = gy vᵀ, and d for the
// derivative: dp = p (ds − m) with m = Σ p ds, and of e = p (h − delta), de = dp (h − delta) + p (dh − ddelta).
#pragma once
#include "attention.cuh"

// dy = Σ (p ds v + p dv) − m y over keys. A block for a tile of queries.
template <class S> struct AttentionTangent {
    typedef typename Arith<S>::T A;
    const S* x;
    i64 x_stride;
    const S* dx;
    i64 dx_stride;
    const S* y;
    i64 y_stride;
    const A* saved;
    i64 saved_stride;
    S* dy;
    i64 dy_stride;
    AttentionSizes n;
    template <int SIZE> DEVICE void over() const {
        typedef AttentionTile<S, SIZE, 2> Tile;
        SHARED(typename Tile::Memory, memory, 1);
        const S* x = this->x + blockIdx.y * x_stride;
        const S* dx = this->dx + blockIdx.y * dx_stride;
        int positions = (int)n.positions, size = (int)n.head_size;
        int tiles = (positions + Tile::ROWS - 1) / Tile::ROWS;
        i64 pair = blockIdx.x / tiles;
        int first = (tiles - 1 - (int)(blockIdx.x % tiles)) * Tile::ROWS;
        HeadRows<S> q(x, n, pair, first, 0, 3), k(x, n, pair, 0, 1, 3), v(x, n, pair, 0, 2, 3);
        HeadRows<S> dq(dx, n, pair, first, 0, 3), dk(dx, n, pair, 0, 1, 3), dv(dx, n, pair, 0, 2, 3);
        A logs[Tile::R], mean[Tile::R];
        TILE_UNROLL
        for (int i = 0; i < Tile::R; i++) {
            int query = first + Tile::row(i);
            logs[i] = query < positions ? saved[blockIdx.y * saved_stride + pair * positions + query] : A(0);
            mean[i] = 0;
        }
        typename Tile::Outputs out = {};
        int end = n.causal && first + Tile::ROWS < positions ? first + Tile::ROWS : positions;
        for (int start = 0; start < end; start += Tile::COLUMNS) {
            typename Tile::Scores p = {}, ds = {};
            Tile::products(memory[0], q, HeadRows<S>(k, start), size, p);
            Tile::products(memory[0], dq, HeadRows<S>(k, start), size, ds);
            Tile::products(memory[0], q, HeadRows<S>(dk, start), size, ds);
            TILE_UNROLL
            for (int i = 0; i < Tile::R; i++)
                TILE_UNROLL for (int j = 0; j < Tile::C; j++) {
                    bool seen = n.sees(first + Tile::row(i), start + Tile::column(j));
                    p[i][j] = seen ? exp(A(n.scale) * p[i][j] - logs[i]) : A(0);
                    ds[i][j] *= A(n.scale) * p[i][j];
                    mean[i] += ds[i][j];
                }
            Tile::sums(memory[0], ds, HeadRows<S>(v, start), size, out);
            Tile::sums(memory[0], p, HeadRows<S>(dv, start), size, out);
        }
        HeadRows<S> was(y + blockIdx.y * y_stride, n, pair, first, 0, 1);
        TILE_UNROLL
        for (int i = 0; i < Tile::R; i++) {
            A m = Tile::row_sum(mean[i]);
            TILE_UNROLL
            for (int j = 0; j < Tile::W; j++)
                if (Tile::row(i) < was.count && Tile::channel(j) < size)
                    out[i][j] -= m * A(was.at[Tile::row(i) * was.row + Tile::channel(j)]);
        }
        S* to = dy + blockIdx.y * dy_stride + n.offset(pair, first, 0, 1);
        Tile::write(out, A(1), to, n.row(1), positions - first, size);
    }
};
EXPORT_HEADS(attention_tangent, AttentionTangent, 64)
EXPORT_HEADS(attention_tangent, AttentionTangent, 256)

// What the kernels of the backward pass's derivative read and write: sums are m, delta and ddelta
// [3, batch, heads, positions] in `sums`, `pairs` examples' heads.
template <class S> struct AttentionBend {
    typedef typename Arith<S>::T A;
    const S* x;
    i64 x_stride;
    const S* dx;
    i64 dx_stride;
    const S* gy;
    i64 gy_stride;
    const S* dgy;
    i64 dgy_stride;
    const A* saved;
    i64 saved_stride;
    A* sums;
    i64 sums_stride;
    S* dgx;
    i64 dgx_stride;
    i64 pairs;
    AttentionSizes n;

    // Numbers of one query.
    struct Query {
        A log, m, delta, ddelta;
    };
    DEVICE A* sums_of(i64 pair, int which) const {
        return sums + blockIdx.y * sums_stride + (which * pairs + pair) * n.positions;
    }
    DEVICE Query query(i64 pair, int at) const {
        Query query = {0, 0, 0, 0};
        if (at >= n.positions) return query;
        query.log = saved[blockIdx.y * saved_stride + pair * n.positions + at];
        query.m = sums_of(pair, 0)[at];
        query.delta = sums_of(pair, 1)[at];
        query.ddelta = sums_of(pair, 2)[at];
        return query;
    }
    // From products to p, ds, e and de where `seen`, 0 elsewhere.
    DEVICE void bend(const Query& query, bool seen, A& p, A& ds, A& h, A& dh) const {
        p = seen ? exp(A(n.scale) * p - query.log) : A(0);
        A dp = p * (A(n.scale) * ds - query.m);
        A e = h - query.delta;
        ds = dp;
        dh = dp * e + p * (dh - query.ddelta);
        h = p * e;
    }
};

// The sums m = Σ p ds, delta = Σ p h and its derivative over keys. A block for a tile of queries.
template <class S> struct AttentionSums : AttentionBend<S> {
    typedef typename Arith<S>::T A;
    template <int SIZE> DEVICE void over() const {
        typedef AttentionTile<S, SIZE, 4> Tile;
        SHARED(typename Tile::Memory, memory, 1);
        const AttentionSizes& n = this->n;
        const S *x = this->x + blockIdx.y * this->x_stride, *dx = this->dx + blockIdx.y * this->dx_stride;
        int positions = (int)n.positions, size = (int)n.head_size;
        int tiles = (positions + Tile::ROWS - 1) / Tile::ROWS;
        i64 pair = blockIdx.x / tiles;
        int first = (tiles - 1 - (int)(blockIdx.x % tiles)) * Tile::ROWS;
        HeadRows<S> q(x, n, pair, first, 0, 3), k(x, n, pair, 0, 1, 3), v(x, n, pair, 0, 2, 3);
        HeadRows<S> dq(dx, n, pair, first, 0, 3), dk(dx, n, pair, 0, 1, 3), dv(dx, n, pair, 0, 2, 3);
        HeadRows<S> g(this->gy + blockIdx.y * this->gy_stride, n, pair, first, 0, 1);
        HeadRows<S> dg(this->dgy + blockIdx.y * this->dgy_stride, n, pair, first, 0, 1);
        const A* logs = this->saved + blockIdx.y * this->saved_stride + pair * positions;
        A m[Tile::R], delta[Tile::R], ddelta[Tile::R];
        for (int i = 0; i < Tile::R; i++) m[i] = delta[i] = ddelta[i] = 0;
        int end = n.causal && first + Tile::ROWS < positions ? first + Tile::ROWS : positions;
        for (int start = 0; start < end; start += Tile::COLUMNS) {
            typename Tile::Scores s = {}, ds = {}, h = {}, dh = {};
            Tile::products(memory[0], q, HeadRows<S>(k, start), size, s);
            Tile::products(memory[0], dq, HeadRows<S>(k, start), size, ds);
            Tile::products(memory[0], q, HeadRows<S>(dk, start), size, ds);
            Tile::products(memory[0], g, HeadRows<S>(v, start), size, h);
            Tile::products(memory[0], dg, HeadRows<S>(v, start), size, dh);
            Tile::products(memory[0], g, HeadRows<S>(dv, start), size, dh);
            TILE_UNROLL
            for (int i = 0; i < Tile::R; i++) {
                int query = first + Tile::row(i);
                A log = query < positions ? logs[query] : A(0);
                TILE_UNROLL
                for (int j = 0; j < Tile::C; j++) {
                    bool seen = n.sees(query, start + Tile::column(j));
                    A p = seen ? exp(A(n.scale) * s[i][j] - log) : A(0), moved = p * A(n.scale) * ds[i][j];
                    m[i] += moved;
                    delta[i] += p * h[i][j];
                    ddelta[i] += moved * h[i][j] + p * dh[i][j];
                }
            }
        }
        for (int i = 0; i < Tile::R; i++) {
            A mean = Tile::row_sum(m[i]), sum = Tile::row_sum(delta[i]), moved = Tile::row_sum(ddelta[i]);
            int query = first + Tile::row(i);
            if (query >= positions || threadIdx.x % Tile::ACROSS != 0) continue;
            this->sums_of(pair, 0)[query] = mean;
            this->sums_of(pair, 1)[query] = sum;
            this->sums_of(pair, 2)[query] = moved - mean * sum;
        }
    }
};
EXPORT_HEADS(attention_sums, AttentionSums, 64)
EXPORT_HEADS(attention_sums, AttentionSums, 256)

// The derivative of the queries' gradients: scale Σ (de k + e dk) over keys. A block for a tile of queries.
template <class S> struct AttentionQueriesTangent : AttentionBend<S> {
    template <int SIZE> DEVICE void over() const {
        typedef AttentionTile<S, SIZE, 4> Tile;
        typedef typename Arith<S>::T A;
        SHARED(typename Tile::Memory, memory, 1);
        const AttentionSizes& n = this->n;
        const S *x = this->x + blockIdx.y * this->x_stride, *dx = this->dx + blockIdx.y * this->dx_stride;
        int positions = (int)n.positions, size = (int)n.head_size;
        int tiles = (positions + Tile::ROWS - 1) / Tile::ROWS;
        i64 pair = blockIdx.x / tiles;
        int first = (tiles - 1 - (int)(blockIdx.x % tiles)) * Tile::ROWS;
        HeadRows<S> q(x, n, pair, first, 0, 3), k(x, n, pair, 0, 1, 3), v(x, n, pair, 0, 2, 3);
        HeadRows<S> dq(dx, n, pair, first, 0, 3), dk(dx, n, pair, 0, 1, 3), dv(dx, n, pair, 0, 2, 3);
        HeadRows<S> g(this->gy + blockIdx.y * this->gy_stride, n, pair, first, 0, 1);
        HeadRows<S> dg(this->dgy + blockIdx.y * this->dgy_stride, n, pair, first, 0, 1);
        typename Tile::Outputs out = {};
        int end = n.causal && first + Tile::ROWS < positions ? first + Tile::ROWS : positions;
        for (int start = 0; start < end; start += Tile::COLUMNS) {
            typename Tile::Scores p = {}, ds = {}, h = {}, dh = {};
            Tile::products(memory[0], q, HeadRows<S>(k, start), size, p);
            Tile::products(memory[0], dq, HeadRows<S>(k, start), size, ds);
            Tile::products(memory[0], q, HeadRows<S>(dk, start), size, ds);
            Tile::products(memory[0], g, HeadRows<S>(v, start), size, h);
            Tile::products(memory[0], dg, HeadRows<S>(v, start), size, dh);
            Tile::products(memory[0], g, HeadRows<S>(dv, start), size, dh);
            TILE_UNROLL
            for (int i = 0; i < Tile::R; i++) {
                int at = first + Tile::row(i);
                typename AttentionBend<S>::Query query = this->query(pair, at);
                TILE_UNROLL
                for (int j = 0; j < Tile::C; j++) {
                    bool seen = n.sees(at, start + Tile::column(j));
                    this->bend(query, seen, p[i][j], ds[i][j], h[i][j], dh[i][j]);
                }
            }
            Tile::sums(memory[0], dh, HeadRows<S>(k, start), size, out);
            Tile::sums(memory[0], h, HeadRows<S>(dk, start), size, out);
        }
        S* to = this->dgx + blockIdx.y * this->dgx_stride + n.offset(pair, first, 0, 3);
        Tile::write(out, A(n.scale), to, n.row(3), positions - first, size);
    }
};
EXPORT_HEADS(attention_queries_tangent, AttentionQueriesTangent, 64)
EXPORT_HEADS(attention_queries_tangent, AttentionQueriesTangent, 256)

// The derivatives of the keys' and values' gradients: scale Σ (de q + e dq) and Σ (dp gy + p dgy) over queries. A
// block for a tile of keys.
template <class S> struct AttentionKeysTangent : AttentionBend<S> {
    template <int SIZE> DEVICE void over() const {
        typedef AttentionTile<S, SIZE, 4> Tile;
        typedef typename Arith<S>::T A;
        SHARED(typename Tile::Memory, memory, 1);
        const AttentionSizes& n = this->n;
        const S *x = this->x + blockIdx.y * this->x_stride, *dx = this->dx + blockIdx.y * this->dx_stride;
        int positions = (int)n.positions, size = (int)n.head_size;
        int tiles = (positions + Tile::ROWS - 1) / Tile::ROWS;
        i64 pair = blockIdx.x / tiles;
        int first = (int)(blockIdx.x % tiles) * Tile::ROWS;
        HeadRows<S> q(x, n, pair, 0, 0, 3), k(x, n, pair, first, 1, 3), v(x, n, pair, first, 2, 3);
        HeadRows<S> dq(dx, n, pair, 0, 0, 3), dk(dx, n, pair, first, 1, 3), dv(dx, n, pair, first, 2, 3);
        HeadRows<S> g(this->gy + blockIdx.y * this->gy_stride, n, pair, 0, 0, 1);
        HeadRows<S> dg(this->dgy + blockIdx.y * this->dgy_stride, n, pair, 0, 0, 1);
        typename Tile::Outputs gk = {}, gv = {};
        for (int start = n.causal ? first : 0; start < positions; start += Tile::COLUMNS) {
            typename Tile::Scores p = {}, ds = {}, h = {}, dh = {};
            Tile::products(memory[0], k, HeadRows<S>(q, start), size, p);
            Tile::products(memory[0], k, HeadRows<S>(dq, start), size, ds);
            Tile::products(memory[0], dk, HeadRows<S>(q, start), size, ds);
            Tile::products(memory[0], v, HeadRows<S>(g, start), size, h);
            Tile::products(memory[0], v, HeadRows<S>(dg, start), size, dh);
            Tile::products(memory[0], dv, HeadRows<S>(g, start), size, dh);
            TILE_UNROLL
            for (int j = 0; j < Tile::C; j++) {
                int at = start + Tile::column(j);
                typename AttentionBend<S>::Query query = this->query(pair, at);
                TILE_UNROLL
                for (int i = 0; i < Tile::R; i++) {
                    bool seen = n.sees(at, first + Tile::row(i));
                    this->bend(query, seen, p[i][j], ds[i][j], h[i][j], dh[i][j]);
                }
            }
            Tile::sums(memory[0], dh, HeadRows<S>(q, start), size, gk);
            Tile::sums(memory[0], h, HeadRows<S>(dq, start), size, gk);
            Tile::sums(memory[0], ds, HeadRows<S>(g, start), size, gv);
            Tile::sums(memory[0], p, HeadRows<S>(dg, start), size, gv);
        }
        S* to = this->dgx + blockIdx.y * this->dgx_stride + n.offset(pair, first, 1, 3);
        Tile::write(gk, A(n.scale), to, n.row(3), positions - first, size);
        Tile::write(gv, A(1), to + n.row(1), n.row(3), positions - first, size);
    }
};
EXPORT_HEADS(attention_keys_tangent, AttentionKeysTangent, 64)
EXPORT_HEADS(attention_keys_tangent, AttentionKeysTangent, 256)

// The kernels of attention.cuh for bf16, on tensor cores. Sums and softmax are in f32; probabilities, and the gradients
// of scores, are rounded to bf16 as factors of the second products, as FlashAttention-2 does.
#pragma once
#include "attention_fragments.cuh"

// Exponentials are powers of two.
#define LOG2_E 1.4426950408889634
// Sums are scaled anew when the largest score has grown by so many powers of two, not whenever it grows: exponentials
// up to 256 are as exact as those up to 1, and most tiles then leave the sums alone.
#define GROWTH 8

template <> template <int SIZE> DEVICE void AttentionForward<bf16>::over() const {
    typedef FragmentTile<SIZE, (SIZE <= 128 ? 2 : 1), (SIZE <= 64 ? 64 : 32), (SIZE <= 64)> Tile;
    DYNAMIC_SHARED(bf16, rows);
    bf16* stages = rows + Tile::ROW_TILE;
    NEEDS_SHARED((Tile::ROW_TILE + 2 * Tile::STAGE) * sizeof(bf16));
    const bf16* x = this->x + blockIdx.y * x_stride;
    int positions = (int)n.positions, size = (int)n.head_size;
    int tiles = (positions + Tile::ROWS - 1) / Tile::ROWS;
    i64 pair = blockIdx.x / tiles;
    int first = (tiles - 1 - (int)(blockIdx.x % tiles)) * Tile::ROWS;
    HeadRows<bf16> q(x, n, pair, first, 0, 3), k(x, n, pair, 0, 1, 3), v(x, n, pair, 0, 2, 3);
    bool whole = Tile::whole(x, size);
    int end = n.causal && first + Tile::ROWS < positions ? first + Tile::ROWS : positions;
    Tile::load_rows(rows, q, size, whole);
    Tile::load_columns(stages, k, v, size, whole);
    wait_for_copies();
    __syncthreads();
    typename Tile::Left queries(rows);
    typename Tile::Outputs out = {};
    float largest[Tile::M][2], sum[Tile::M][2];
    Tile::each_row([&](int m, int h) {
        largest[m][h] = -INFINITY;
        sum[m][h] = 0;
    });
    // The largest score is found before scores are scaled, so the factor is positive: its sign goes to the scores, and
    // for 0 there is a number that leaves nothing of them but the −∞ of those unseen.
    bool negative = n.scale < 0;
    float scale = fmax((float)((negative ? -n.scale : n.scale) * LOG2_E), 1e-37f);
    int lowest = first + Tile::first_row(), highest = lowest + Tile::WARP_ROWS - 1;
    for (int start = 0, stage = 0; start < end; start += Tile::COLUMNS, stage ^= 1) {
        const bf16* keys = stages + stage * Tile::STAGE;
        wait_for_copies();
        __syncthreads();
        int next = start + Tile::COLUMNS;
        if (next < end)
            Tile::load_columns(stages + (stage ^ 1) * Tile::STAGE, {k, next}, {v, next}, size, whole);
        if (n.causal && start > highest) continue;
        typename Tile::Scores s = {};
        Tile::products(queries, keys, s);
        if (negative) Tile::each_score([&](int m, int j, int i) { s[m][j][i] = -s[m][j][i]; });
        // where not all are seen by all
        if (next > positions || (n.causal && next - 1 > lowest))
            Tile::each_score([&](int m, int j, int i) {
                int query = first + Tile::row(m, i), seen = n.causal && query < positions ? query + 1 : positions;
                if (start + Tile::column(j, i) >= seen) s[m][j][i] = -INFINITY;
            });
        float most[Tile::M][2];
        Tile::each_row([&](int m, int h) { most[m][h] = largest[m][h]; });
        Tile::each_score([&](int m, int j, int i) { most[m][i / 2] = fmax(most[m][i / 2], s[m][j][i]); });
        bool grew = false;
        Tile::each_row([&](int m, int h) {
            most[m][h] = Tile::row_max(most[m][h]);
            grew = grew || scale * (most[m][h] - largest[m][h]) > GROWTH;
        });
        if (__ballot_sync(0xffffffffu, grew)) {
            float factor[Tile::M][2];
            Tile::each_row([&](int m, int h) {
                factor[m][h] = fast_exp2(scale * (largest[m][h] - most[m][h]));
                largest[m][h] = most[m][h];
                sum[m][h] *= factor[m][h];
            });
            Tile::each_sum([&](int m, int c, int i) { out[m][c][i] *= factor[m][i / 2]; });
        }
        Tile::each_score([&](int m, int j, int i) {
            s[m][j][i] = fast_exp2(scale * s[m][j][i] - scale * largest[m][i / 2]);
            sum[m][i / 2] += s[m][j][i];
        });
        Tile::sums(s, keys + Tile::COLUMN_TILE, out);
    }
    float factor[Tile::M][2];
    Tile::each_row([&](int m, int h) {
        float total = Tile::row_sum(sum[m][h]);
        factor[m][h] = 1 / total;
        int query = first + Tile::row(m, 2 * h);
        if (query < positions && Tile::lane() % 4 == 0)
            saved[blockIdx.y * saved_stride + pair * positions + query] =
                largest[m][h] * scale * (float)(1 / LOG2_E) + log(total);
    });
    Tile::each_sum([&](int m, int c, int i) { out[m][c][i] *= factor[m][i / 2]; });
    bf16* to = y + blockIdx.y * y_stride + n.offset(pair, first, 0, 1);
    Tile::write(out, 1, rows, to, n.row(1), positions - first, size);
}

template <> template <int SIZE> DEVICE void AttentionQueries<bf16>::over() const {
    typedef FragmentTile<SIZE, (SIZE <= 64 ? 2 : 1), (SIZE <= 128 ? 32 : 16), (SIZE <= 128)> Tile;
    DYNAMIC_SHARED(bf16, rows);
    bf16* stages = rows + 2 * Tile::ROW_TILE;
    NEEDS_SHARED((2 * Tile::ROW_TILE + 2 * Tile::STAGE) * sizeof(bf16));
    const bf16 *x = this->x + blockIdx.y * x_stride, *gy = this->gy + blockIdx.y * gy_stride;
    int positions = (int)n.positions, size = (int)n.head_size;
    int tiles = (positions + Tile::ROWS - 1) / Tile::ROWS;
    i64 pair = blockIdx.x / tiles;
    int first = (tiles - 1 - (int)(blockIdx.x % tiles)) * Tile::ROWS;
    HeadRows<bf16> q(x, n, pair, first, 0, 3), k(x, n, pair, 0, 1, 3), v(x, n, pair, 0, 2, 3);
    HeadRows<bf16> g(gy, n, pair, first, 0, 1);
    bool whole = Tile::whole(x, size);
    int end = n.causal && first + Tile::ROWS < positions ? first + Tile::ROWS : positions;
    Tile::load_rows(rows, q, size, whole);
    Tile::load_rows(rows + Tile::ROW_TILE, g, size, Tile::whole(gy, size));
    Tile::load_columns(stages, k, v, size, whole);
    wait_for_copies();
    __syncthreads();
    typename Tile::Left queries(rows), gradients(rows + Tile::ROW_TILE);
    float logs[Tile::M][2], deltas[Tile::M][2];
    Tile::each_row([&](int m, int h) {
        int query = first + Tile::row(m, 2 * h);
        i64 at = pair * positions + query;
        bool inside = query < positions;
        logs[m][h] = inside ? saved[blockIdx.y * saved_stride + at] * (float)LOG2_E : 0;
        deltas[m][h] = inside ? delta[blockIdx.y * delta_stride + at] : 0;
    });
    typename Tile::Outputs out = {};
    float scale = (float)(n.scale * LOG2_E);
    int lowest = first + Tile::first_row(), highest = lowest + Tile::WARP_ROWS - 1;
    for (int start = 0, stage = 0; start < end; start += Tile::COLUMNS, stage ^= 1) {
        const bf16* keys = stages + stage * Tile::STAGE;
        wait_for_copies();
        __syncthreads();
        int next = start + Tile::COLUMNS;
        if (next < end)
            Tile::load_columns(stages + (stage ^ 1) * Tile::STAGE, {k, next}, {v, next}, size, whole);
        if (n.causal && start > highest) continue;
        typename Tile::Scores s = {}, h = {};
        Tile::products(queries, keys, s);
        Tile::products(gradients, keys + Tile::COLUMN_TILE, h);
        Tile::each_score([&](int m, int j, int i) {
            float p = fast_exp2(scale * s[m][j][i] - logs[m][i / 2]);
            s[m][j][i] = p * (h[m][j][i] - deltas[m][i / 2]);
        });
        if (next > positions || (n.causal && next - 1 > lowest))
            Tile::each_score([&](int m, int j, int i) {
                int query = first + Tile::row(m, i), seen = n.causal && query < positions ? query + 1 : positions;
                if (start + Tile::column(j, i) >= seen) s[m][j][i] = 0;
            });
        Tile::sums(s, keys, out);
    }
    bf16* to = gx + blockIdx.y * gx_stride + n.offset(pair, first, 0, 3);
    Tile::write(out, (float)n.scale, rows, to, n.row(3), positions - first, size);
}

template <> template <int SIZE> DEVICE void AttentionKeys<bf16>::over() const {
    typedef FragmentTile<SIZE, (SIZE <= 64 ? 2 : 1), (SIZE <= 128 ? 32 : 16), (SIZE <= 32), (SIZE <= 128 ? 1 : 2)> Tile;
    DYNAMIC_SHARED(bf16, rows);
    bf16* stages = rows + 2 * Tile::ROW_TILE;
    // of queries, in two stages: logs, then deltas
    float* numbers = (float*)(stages + 2 * Tile::STAGE);
    NEEDS_SHARED((2 * Tile::ROW_TILE + 2 * Tile::STAGE) * sizeof(bf16) + 4 * Tile::COLUMNS * sizeof(float));
    const bf16 *x = this->x + blockIdx.y * x_stride, *gy = this->gy + blockIdx.y * gy_stride;
    int positions = (int)n.positions, size = (int)n.head_size;
    int tiles = (positions + Tile::ROWS - 1) / Tile::ROWS;
    i64 pair = blockIdx.x / tiles;
    int first = (int)(blockIdx.x % tiles) * Tile::ROWS;
    HeadRows<bf16> q(x, n, pair, 0, 0, 3), k(x, n, pair, first, 1, 3), v(x, n, pair, first, 2, 3);
    HeadRows<bf16> g(gy, n, pair, 0, 0, 1);
    const float* all_logs = saved + blockIdx.y * saved_stride + pair * positions;
    const float* all_deltas = delta + blockIdx.y * delta_stride + pair * positions;
    bool whole = Tile::whole(x, size), whole_gy = Tile::whole(gy, size);
    auto load = [&](int start, int stage) {
        bf16* to = stages + stage * Tile::STAGE;
        Tile::template load<Tile::COLUMNS>(to, {q, start}, size, whole);
        Tile::template load<Tile::COLUMNS>(to + Tile::COLUMN_TILE, {g, start}, size, whole_gy);
        int i = threadIdx.x % Tile::COLUMNS;
        bool inside = start + i < positions;
        float* at = numbers + 2 * stage * Tile::COLUMNS + i;
        if (threadIdx.x < Tile::COLUMNS) copy_async<4>(at, all_logs + start + i, inside);
        else if (threadIdx.x < 2 * Tile::COLUMNS) copy_async<4>(at + Tile::COLUMNS, all_deltas + start + i, inside);
    };
    int start = n.causal ? first : 0;
    Tile::load_rows(rows, k, size, whole);
    Tile::load_rows(rows + Tile::ROW_TILE, v, size, whole);
    load(start, 0);
    wait_for_copies();
    __syncthreads();
    typename Tile::Left keys(rows), values(rows + Tile::ROW_TILE);
    typename Tile::Outputs gk = {}, gv = {};
    float scale = (float)(n.scale * LOG2_E);
    int lowest = first + Tile::first_row(), highest = lowest + Tile::WARP_ROWS - 1;
    for (int stage = 0; start < positions; start += Tile::COLUMNS, stage ^= 1) {
        const bf16* queries = stages + stage * Tile::STAGE;
        const float *logs = numbers + 2 * stage * Tile::COLUMNS, *deltas = logs + Tile::COLUMNS;
        wait_for_copies();
        __syncthreads();
        int next = start + Tile::COLUMNS;
        if (next < positions) load(next, stage ^ 1);
        if (n.causal && next - 1 < lowest) continue;
        typename Tile::Scores p = {}, h = {};
        Tile::products(keys, queries, p);
        Tile::products(values, queries + Tile::COLUMN_TILE, h);
        Tile::each_score([&](int m, int j, int i) {
            int column = Tile::column(j, i);
            p[m][j][i] = fast_exp2(scale * p[m][j][i] - logs[column] * (float)LOG2_E);
            h[m][j][i] = p[m][j][i] * (h[m][j][i] - deltas[column]);
        });
        if (next > positions || (n.causal && start < highest))
            Tile::each_score([&](int m, int j, int i) {
                int query = start + Tile::column(j, i), seen_from = n.causal ? first + Tile::row(m, i) : 0;
                if (query < seen_from || query >= positions) p[m][j][i] = h[m][j][i] = 0;
            });
        Tile::sums(p, queries + Tile::COLUMN_TILE, gv);
        Tile::sums(h, queries, gk);
    }
    // warps may share rows
    __syncthreads();
    bf16* to = gx + blockIdx.y * gx_stride + n.offset(pair, first, 1, 3);
    Tile::write(gk, (float)n.scale, rows, to, n.row(3), positions - first, size);
    Tile::write(gv, 1, rows + Tile::ROW_TILE, to + n.row(1), n.row(3), positions - first, size);
}

// Tiles of attention in fragments of tensor cores.
#pragma once
#include "attention_sizes.cuh"
#include "copy_async.cuh"
#include "mma.cuh"

// A tile of a block of four warps: ROWS × COLUMNS scores, and sums over columns of ROWS × SIZE, where SIZE is the size
// of heads rounded up. A warp has M times 16 rows, so that what it loads of columns serves M products; PARTS warps
// share them where registers do not hold sums of all channels, and each sums a part of the channels.
//
// Rows stay in shared memory, KEPT ones in registers too; columns come in two stages, one of which is on its way while
// the other is used.
template <int SIZE, int M_, int COLUMNS_, bool KEPT, int PARTS = 1> struct FragmentTile {
    static constexpr int M = M_, COLUMNS = COLUMNS_;
    static constexpr int WARPS = 4, THREADS = WARPS * WARP;
    static constexpr int WARP_ROWS = 16 * M, ROWS = WARP_ROWS * WARPS / PARTS;
    // channels that a warp sums
    static constexpr int WIDTH = SIZE / PARTS;
    // With 16 bytes more than the channels need, rows that one load takes lie in different banks.
    static constexpr int PITCH = SIZE + 8;
    static constexpr int ROW_TILE = ROWS * PITCH, COLUMN_TILE = COLUMNS * PITCH, STAGE = 2 * COLUMN_TILE;

    // Fragments of c, see mma.cuh.
    typedef float Scores[M][COLUMNS / 8][4];
    typedef float Outputs[M][WIDTH / 8][4];

    static DEVICE int lane() { return threadIdx.x % WARP; }
    static DEVICE int warp() { return threadIdx.x / WARP; }
    // The first row of this warp, and the row and column of a lane's i-th number in the fragment m, and j.
    static DEVICE int first_row() { return warp() / PARTS * WARP_ROWS; }
    static DEVICE int row(int m, int i) { return first_row() + 16 * m + i / 2 * 8 + lane() / 4; }
    static DEVICE int column(int j, int i) { return 8 * j + lane() % 4 * 2 + i % 2; }
    static DEVICE int first_channel() { return warp() % PARTS * WIDTH; }

    // Calls f(m, j, i) for each of a lane's scores, and f(m, c, i) for each of its sums.
    template <class F> static DEVICE void each_score(F f) { each<COLUMNS / 8>(f); }
    template <class F> static DEVICE void each_sum(F f) { each<WIDTH / 8>(f); }
    template <int ACROSS, class F> static DEVICE void each(F f) {
        TILE_UNROLL
        for (int m = 0; m < M; m++)
            TILE_UNROLL for (int j = 0; j < ACROSS; j++) TILE_UNROLL for (int i = 0; i < 4; i++) f(m, j, i);
    }
    // Calls f(m, h) for each of a lane's rows, that of its numbers 2h and 2h + 1.
    template <class F> static DEVICE void each_row(F f) {
        TILE_UNROLL
        for (int m = 0; m < M; m++) TILE_UNROLL for (int h = 0; h < 2; h++) f(m, h);
    }

    // Where a lane's row begins in loads of 16×16 numbers: of the four matrices, the second is below the first, or
    // right of it.
    static DEVICE int down() { return lane() % 16 * PITCH + lane() / 16 * 8; }
    static DEVICE int across() { return (lane() / 16 * 8 + lane() % 8) * PITCH + lane() / 8 % 2 * 8; }

    // Rows that begin at multiples of 16 bytes are copied so many at once.
    static DEVICE bool whole(const bf16* x, int size) { return size % 8 == 0 && (size_t)x % 16 == 0; }

    // Starts loading N rows, with zeros in place of rows and channels that are not there.
    template <int N> static DEVICE void load(bf16* to, const HeadRows<bf16>& from, int size, bool whole) {
        if (!whole) {
            for (int e = threadIdx.x; e < N * SIZE; e += THREADS) {
                int i = e / SIZE, c = e % SIZE;
                to[i * PITCH + c] = i < from.count && c < size ? from.at[i * from.row + c] : bf16(0.0f);
            }
            return;
        }
        constexpr int ACROSS = SIZE / 8, DOWN = THREADS / ACROSS;
        int first = threadIdx.x / ACROSS, c = threadIdx.x % ACROSS * 8;
        const bf16* at = from.at + first * from.row + c;
        to += first * PITCH + c;
        int count = c < size ? from.count - first : 0;
        TILE_UNROLL
        for (int i = 0; i < N; i += DOWN) {
            copy_async<16>(to + i * PITCH, at, i < count);
            at += DOWN * from.row;
        }
    }
    static DEVICE void load_rows(bf16* to, const HeadRows<bf16>& from, int size, bool whole) {
        load<ROWS>(to, from, size, whole);
    }
    // Two tiles of columns.
    static DEVICE void load_columns(bf16* to, HeadRows<bf16> a, HeadRows<bf16> b, int size, bool whole) {
        load<COLUMNS>(to, a, size, whole);
        load<COLUMNS>(to + COLUMN_TILE, b, size, whole);
    }

    // A warp's rows as left factors.
    struct Left {
        const bf16* at;
        unsigned kept[KEPT ? M : 1][KEPT ? SIZE / 16 : 1][4];

        DEVICE Left(const bf16* rows) : at(rows + first_row() * PITCH + down()) {
            if constexpr (KEPT) {
                TILE_UNROLL
                for (int m = 0; m < M; m++)
                    TILE_UNROLL for (int k = 0; k < SIZE / 16; k++)
                        load_matrices(kept[m][k], at + 16 * (m * PITCH + k));
            }
        }
        DEVICE void get(int m, int k, unsigned (&a)[4]) const {
            if constexpr (KEPT) {
                TILE_UNROLL
                for (int i = 0; i < 4; i++) a[i] = kept[m][k][i];
            } else {
                load_matrices(a, at + 16 * (m * PITCH + k));
            }
        }
    };

    // s += rows columnsᵀ.
    static DEVICE void products(const Left& left, const bf16* columns, Scores& s) {
        columns += across();
        TILE_UNROLL
        for (int k = 0; k < SIZE / 16; k++) {
            unsigned a[M][4];
            TILE_UNROLL
            for (int m = 0; m < M; m++) left.get(m, k, a[m]);
            TILE_UNROLL
            for (int j = 0; j < COLUMNS / 16; j++) {
                unsigned b[4];
                load_matrices(b, columns + 16 * (j * PITCH + k));
                TILE_UNROLL
                for (int m = 0; m < M; m++) {
                    mma(s[m][2 * j], a[m], b[0], b[1]);
                    mma(s[m][2 * j + 1], a[m], b[2], b[3]);
                }
            }
        }
    }

    // out += weights · columns, with the weights rounded.
    static DEVICE void sums(const Scores& weights, const bf16* columns, Outputs& out) {
        columns += down() + first_channel();
        TILE_UNROLL
        for (int k = 0; k < COLUMNS / 16; k++) {
            unsigned a[M][4];
            TILE_UNROLL
            for (int m = 0; m < M; m++)
                TILE_UNROLL for (int i = 0; i < 4; i++) {
                    const float* pair = &weights[m][2 * k + i / 2][i % 2 * 2];
                    a[m][i] = bf16_pair(pair[0], pair[1]);
                }
            TILE_UNROLL
            for (int c = 0; c < WIDTH / 16; c++) {
                unsigned b[4];
                load_matrices_transposed(b, columns + 16 * (k * PITCH + c));
                TILE_UNROLL
                for (int m = 0; m < M; m++) {
                    mma(out[m][2 * c], a[m], b[0], b[1]);
                    mma(out[m][2 * c + 1], a[m], b[2], b[3]);
                }
            }
        }
    }

    // Sum and maximum over the four lanes of a row.
    static DEVICE float row_sum(float x) {
        x += __shfl_xor_sync(0xffffffffu, x, 1);
        return x + __shfl_xor_sync(0xffffffffu, x, 2);
    }
    static DEVICE float row_max(float x) {
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
        return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
    }

    // Writes `factor` times the sums to `count` rows at distance `distance`. They go by way of `rows` in shared memory,
    // so that a row's numbers are written side by side; no warp may read this one's rows there any more.
    static DEVICE void write(
        const Outputs& out, float factor, bf16* rows, bf16* to, i64 distance, int count, int size) {
        TILE_UNROLL
        for (int m = 0; m < M; m++)
            TILE_UNROLL for (int c = 0; c < WIDTH / 8; c++) {
                const float* o = out[m][c];
                bf16* at = rows + row(m, 0) * PITCH + first_channel() + column(c, 0);
                store_pair(at, bf16_pair(factor * o[0], factor * o[1]));
                store_pair(at + 8 * PITCH, bf16_pair(factor * o[2], factor * o[3]));
            }
        __syncwarp();
        constexpr int ACROSS = WIDTH / 8;
        bool at_once = whole(to, size);
        for (int e = lane(); e < WARP_ROWS * ACROSS; e += WARP) {
            int i = first_row() + e / ACROSS, c = first_channel() + e % ACROSS * 8;
            if (i >= count || c >= size) continue;
            const bf16* from = rows + i * PITCH + c;
            bf16* at = to + i * distance + c;
            if (at_once) copy_16_bytes(at, from);
            else
                for (int k = 0; k < 8 && c + k < size; k++) at[k] = from[k];
        }
    }
};

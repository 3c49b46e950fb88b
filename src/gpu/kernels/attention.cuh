// Attention without the matrix of scores (FlashAttention-2, arXiv 2307.08691): a block takes a tile of rows, and
// tiles of columns one after another. Rows are queries and columns keys, or the other way round where gradients of
// keys and values are summed, so that no two blocks write the same number.
#pragma once
#include "attention_sizes.cuh"

// A tile of a block of 128 threads: ROWS × COLUMNS scores, and OUTPUTS sums over columns of ROWS × SIZE, where SIZE
// is the size of heads rounded up. Sixteen threads share a row: each has R rows, C columns and W channels.
template <class S, int SIZE, int OUTPUTS> struct AttentionTile {
    typedef typename Arith<S>::T A;
    static constexpr int THREADS = 128, ACROSS = 16, DOWN = THREADS / ACROSS;
    // numbers of one load from shared memory
    static constexpr int V = 16 / sizeof(A);
    // registers hold the sums
    static constexpr int R = (OUTPUTS * SIZE <= 128 ? 32 : 16) / sizeof(A), C = 4, W = SIZE / ACROSS;
    static constexpr int ROWS = DOWN * R, COLUMNS = ACROSS * C;
    // channels of a chunk of products, columns of a chunk of sums
    static constexpr int CHANNELS = 16, CHUNK = SIZE * sizeof(A) > 1024 ? 8 : 16;
    // padded against bank conflicts
    static constexpr int ROW_PITCH = ROWS + V, COLUMN_PITCH = COLUMNS + V;
    static constexpr int FACTORS = CHANNELS * (ROW_PITCH + COLUMN_PITCH), VALUES = CHUNK * SIZE;

    typedef A Scores[R][C];
    typedef A Outputs[R][W];
    struct alignas(16) Memory {
        A chunk[FACTORS > VALUES ? FACTORS : VALUES];
        A weights[COLUMNS * ROW_PITCH];
    };

    // The i-th of a thread's N places among those of so many threads: up to V side by side.
    template <int N> static DEVICE int place(int thread, int threads, int i) {
        constexpr int side = N < V ? N : V;
        return i / side * side * threads + thread * side + i % side;
    }
    static DEVICE int row(int i) { return place<R>(threadIdx.x / ACROSS, DOWN, i); }
    static DEVICE int column(int j) { return place<C>(threadIdx.x % ACROSS, ACROSS, j); }
    static DEVICE int channel(int j) { return place<W>(threadIdx.x % ACROSS, ACROSS, j); }

    // Sum and maximum over the threads of a row.
    static DEVICE A row_sum(A x) {
        for (int lane = ACROSS / 2; lane > 0; lane /= 2) x += __shfl_xor_sync(0xffffffffu, x, lane);
        return x;
    }
    static DEVICE A row_max(A x) {
        for (int lane = ACROSS / 2; lane > 0; lane /= 2) {
            A other = __shfl_xor_sync(0xffffffffu, x, lane);
            x = other > x ? other : x;
        }
        return x;
    }

    template <int N> static DEVICE void load_channels(A* to, HeadRows<S> from, int channel, int size) {
        int c = threadIdx.x % CHANNELS, first = threadIdx.x / CHANNELS;
        const S* at = from.at + first * from.row + channel + c;
        bool inside = channel + c < size;
        TILE_UNROLL
        for (int n = 0; n < N * CHANNELS / THREADS; n++) {
            int i = first + n * (THREADS / CHANNELS);
            to[c * (N + V) + i] = inside && i < from.count ? A(*at) : A(0);
            at += (THREADS / CHANNELS) * from.row;
        }
    }

    // s += a bᵀ.
    static DEVICE void products(Memory& memory, HeadRows<S> a, HeadRows<S> b, int size, Scores& s) {
        A *left = memory.chunk, *right = memory.chunk + CHANNELS * ROW_PITCH;
        for (int c = 0; c < size; c += CHANNELS) {
            __syncthreads();
            load_channels<ROWS>(left, a, c, size);
            load_channels<COLUMNS>(right, b, c, size);
            __syncthreads();
            TILE_UNROLL_4
            for (int k = 0; k < CHANNELS; k++) {
                A x[R], y[C];
                TILE_UNROLL
                for (int i = 0; i < R; i++) x[i] = left[k * ROW_PITCH + row(i)];
                TILE_UNROLL
                for (int j = 0; j < C; j++) y[j] = right[k * COLUMN_PITCH + column(j)];
                TILE_UNROLL
                for (int i = 0; i < R; i++) TILE_UNROLL for (int j = 0; j < C; j++) s[i][j] += x[i] * y[j];
            }
        }
    }

    // out += weights · rows of columns, for one weight of each row and column.
    static DEVICE void sums(Memory& memory, const Scores& weights, HeadRows<S> columns, int size, Outputs& out) {
        // others may still read those before
        __syncthreads();
        TILE_UNROLL
        for (int j = 0; j < C; j++)
            TILE_UNROLL for (int i = 0; i < R; i++) memory.weights[column(j) * ROW_PITCH + row(i)] = weights[i][j];
        int count = columns.count < COLUMNS ? columns.count : COLUMNS;
        for (int first = 0; first < count; first += CHUNK) {
            __syncthreads();
            TILE_UNROLL
            for (int n = 0; n < VALUES / THREADS; n++) {
                int e = n * THREADS + threadIdx.x, j = first + e / SIZE, c = e % SIZE;
                memory.chunk[e] = j < count && c < size ? A(columns.at[j * columns.row + c]) : A(0);
            }
            __syncthreads();
            TILE_UNROLL_4
            for (int k = 0; k < CHUNK; k++) {
                A x[R], y[W];
                TILE_UNROLL
                for (int i = 0; i < R; i++) x[i] = memory.weights[(first + k) * ROW_PITCH + row(i)];
                TILE_UNROLL
                for (int j = 0; j < W; j++) y[j] = memory.chunk[k * SIZE + channel(j)];
                TILE_UNROLL
                for (int i = 0; i < R; i++) TILE_UNROLL for (int j = 0; j < W; j++) out[i][j] += x[i] * y[j];
            }
        }
    }

    // Writes `factor` times the sums to rows, of which there are `count` at distance `distance`.
    static DEVICE void write(const Outputs& out, A factor, S* to, i64 distance, int count, int size) {
        TILE_UNROLL
        for (int i = 0; i < R; i++) {
            if (row(i) >= count) continue;
            S* at = to + row(i) * distance;
            TILE_UNROLL
            for (int j = 0; j < W; j++)
                if (channel(j) < size) at[channel(j)] = S(factor * out[i][j]);
        }
    }
};

// y = softmax(scale q kᵀ) v, and the log of the sum of each query's exponentials, saved [batch, heads, positions].
// A block for a tile of queries of an example's head; where a query sees but those before it, the longest first.
template <class S> struct AttentionForward {
    typedef typename Arith<S>::T A;
    const S* x;
    i64 x_stride;
    S* y;
    i64 y_stride;
    A* saved;
    i64 saved_stride;
    AttentionSizes n;
    template <int SIZE> DEVICE void over() const {
        typedef AttentionTile<S, SIZE, 1> Tile;
        SHARED(typename Tile::Memory, memory, 1);
        const S* x = this->x + blockIdx.y * x_stride;
        int positions = (int)n.positions, size = (int)n.head_size;
        int tiles = (positions + Tile::ROWS - 1) / Tile::ROWS;
        i64 pair = blockIdx.x / tiles;
        int first = (tiles - 1 - (int)(blockIdx.x % tiles)) * Tile::ROWS;
        HeadRows<S> q(x, n, pair, first, 0, 3), k(x, n, pair, 0, 1, 3), v(x, n, pair, 0, 2, 3);
        typename Tile::Outputs out = {};
        A largest[Tile::R], sum[Tile::R];
        for (int i = 0; i < Tile::R; i++) {
            largest[i] = A(-INFINITY);
            sum[i] = 0;
        }
        int end = n.causal && first + Tile::ROWS < positions ? first + Tile::ROWS : positions;
        for (int start = 0; start < end; start += Tile::COLUMNS) {
            typename Tile::Scores s = {};
            Tile::products(memory[0], q, HeadRows<S>(k, start), size, s);
            TILE_UNROLL
            for (int i = 0; i < Tile::R; i++) {
                int query = first + Tile::row(i);
                A most = largest[i];
                TILE_UNROLL
                for (int j = 0; j < Tile::C; j++) {
                    int key = start + Tile::column(j);
                    bool seen = key < positions && !(n.causal && key > query);
                    s[i][j] = seen ? A(n.scale) * s[i][j] : A(-INFINITY);
                    most = s[i][j] > most ? s[i][j] : most;
                }
                most = Tile::row_max(most);
                A factor = exp(largest[i] - most);
                largest[i] = most;
                sum[i] *= factor;
                TILE_UNROLL
                for (int j = 0; j < Tile::C; j++) {
                    s[i][j] = exp(s[i][j] - most);
                    sum[i] += s[i][j];
                }
                TILE_UNROLL
                for (int j = 0; j < Tile::W; j++) out[i][j] *= factor;
            }
            Tile::sums(memory[0], s, HeadRows<S>(v, start), size, out);
        }
        TILE_UNROLL
        for (int i = 0; i < Tile::R; i++) {
            A total = Tile::row_sum(sum[i]);
            TILE_UNROLL
            for (int j = 0; j < Tile::W; j++) out[i][j] /= total;
            int query = first + Tile::row(i);
            if (query < positions && threadIdx.x % Tile::ACROSS == 0)
                saved[blockIdx.y * saved_stride + pair * positions + query] = largest[i] + log(total);
        }
        S* y = this->y + blockIdx.y * y_stride + n.offset(pair, first, 0, 1);
        Tile::write(out, A(1), y, n.row(1), positions - first, size);
    }
};

// delta [batch, heads, positions] = Σ y gy over the channels of a head. A warp takes a row of a head.
template <class S> struct attention_delta {
    typedef typename Arith<S>::T A;
    const S* y;
    i64 y_stride;
    const S* gy;
    i64 gy_stride;
    A* delta;
    i64 delta_stride;
    i64 rows;
    i64 positions;
    i64 heads;
    i64 head_size;
    DEVICE void run() const {
        const S* y = this->y + blockIdx.y * y_stride;
        const S* gy = this->gy + blockIdx.y * gy_stride;
        A* delta = this->delta + blockIdx.y * delta_stride;
        int lane = threadIdx.x % WARP, size = (int)head_size;
        for (i64 row = first_index() / WARP; row < rows; row += index_step() / WARP) {
            A sum = 0;
            for (int c = lane; c < size; c += WARP) sum += A(y[row * size + c]) * A(gy[row * size + c]);
            sum = warp_sum(sum);
            i64 at = row / heads, head = row % heads;
            if (lane == 0) delta[(at / positions * heads + head) * positions + at % positions] = sum;
        }
    }
};
EXPORT_BLOCK(attention_delta)

// The queries' gradients: scale Σ p (h − delta) k over keys, with the probabilities p and h = gy vᵀ. A block for a
// tile of queries.
template <class S> struct AttentionQueries {
    typedef typename Arith<S>::T A;
    const S* x;
    i64 x_stride;
    const S* gy;
    i64 gy_stride;
    const A* saved;
    i64 saved_stride;
    const A* delta;
    i64 delta_stride;
    S* gx;
    i64 gx_stride;
    AttentionSizes n;
    template <int SIZE> DEVICE void over() const {
        typedef AttentionTile<S, SIZE, 1> Tile;
        SHARED(typename Tile::Memory, memory, 1);
        const S* x = this->x + blockIdx.y * x_stride;
        int positions = (int)n.positions, size = (int)n.head_size;
        int tiles = (positions + Tile::ROWS - 1) / Tile::ROWS;
        i64 pair = blockIdx.x / tiles;
        int first = (tiles - 1 - (int)(blockIdx.x % tiles)) * Tile::ROWS;
        HeadRows<S> q(x, n, pair, first, 0, 3), k(x, n, pair, 0, 1, 3), v(x, n, pair, 0, 2, 3);
        HeadRows<S> g(gy + blockIdx.y * gy_stride, n, pair, first, 0, 1);
        A logs[Tile::R], deltas[Tile::R];
        TILE_UNROLL
        for (int i = 0; i < Tile::R; i++) {
            int query = first + Tile::row(i);
            bool inside = query < positions;
            logs[i] = inside ? saved[blockIdx.y * saved_stride + pair * positions + query] : A(0);
            deltas[i] = inside ? delta[blockIdx.y * delta_stride + pair * positions + query] : A(0);
        }
        typename Tile::Outputs out = {};
        int end = n.causal && first + Tile::ROWS < positions ? first + Tile::ROWS : positions;
        for (int start = 0; start < end; start += Tile::COLUMNS) {
            typename Tile::Scores s = {}, h = {};
            Tile::products(memory[0], q, HeadRows<S>(k, start), size, s);
            Tile::products(memory[0], g, HeadRows<S>(v, start), size, h);
            TILE_UNROLL
            for (int i = 0; i < Tile::R; i++)
                TILE_UNROLL for (int j = 0; j < Tile::C; j++) {
                    bool seen = n.sees(first + Tile::row(i), start + Tile::column(j));
                    s[i][j] = seen ? exp(A(n.scale) * s[i][j] - logs[i]) * (h[i][j] - deltas[i]) : A(0);
                }
            Tile::sums(memory[0], s, HeadRows<S>(k, start), size, out);
        }
        S* to = gx + blockIdx.y * gx_stride + n.offset(pair, first, 0, 3);
        Tile::write(out, A(n.scale), to, n.row(3), positions - first, size);
    }
};

// The keys' and values' gradients: scale Σ p (h − delta) q and Σ p gy over queries. A block for a tile of keys.
template <class S> struct AttentionKeys {
    typedef typename Arith<S>::T A;
    const S* x;
    i64 x_stride;
    const S* gy;
    i64 gy_stride;
    const A* saved;
    i64 saved_stride;
    const A* delta;
    i64 delta_stride;
    S* gx;
    i64 gx_stride;
    AttentionSizes n;
    template <int SIZE> DEVICE void over() const {
        typedef AttentionTile<S, SIZE, 2> Tile;
        SHARED(typename Tile::Memory, memory, 1);
        const S* x = this->x + blockIdx.y * x_stride;
        int positions = (int)n.positions, size = (int)n.head_size;
        int tiles = (positions + Tile::ROWS - 1) / Tile::ROWS;
        i64 pair = blockIdx.x / tiles;
        int first = (int)(blockIdx.x % tiles) * Tile::ROWS;
        HeadRows<S> q(x, n, pair, 0, 0, 3), k(x, n, pair, first, 1, 3), v(x, n, pair, first, 2, 3);
        HeadRows<S> g(gy + blockIdx.y * gy_stride, n, pair, 0, 0, 1);
        const A* logs = saved + blockIdx.y * saved_stride + pair * positions;
        const A* deltas = delta + blockIdx.y * delta_stride + pair * positions;
        typename Tile::Outputs gk = {}, gv = {};
        for (int start = n.causal ? first : 0; start < positions; start += Tile::COLUMNS) {
            typename Tile::Scores p = {}, h = {};
            Tile::products(memory[0], k, HeadRows<S>(q, start), size, p);
            Tile::products(memory[0], v, HeadRows<S>(g, start), size, h);
            TILE_UNROLL
            for (int j = 0; j < Tile::C; j++) {
                int query = start + Tile::column(j);
                bool inside = query < positions;
                A log = inside ? logs[query] : A(0), delta = inside ? deltas[query] : A(0);
                TILE_UNROLL
                for (int i = 0; i < Tile::R; i++) {
                    bool seen = n.sees(query, first + Tile::row(i));
                    p[i][j] = seen ? exp(A(n.scale) * p[i][j] - log) : A(0);
                    h[i][j] = p[i][j] * (h[i][j] - delta);
                }
            }
            Tile::sums(memory[0], p, HeadRows<S>(g, start), size, gv);
            Tile::sums(memory[0], h, HeadRows<S>(q, start), size, gk);
        }
        S* to = gx + blockIdx.y * gx_stride + n.offset(pair, first, 1, 3);
        Tile::write(gk, A(n.scale), to, n.row(3), positions - first, size);
        Tile::write(gv, A(1), to + n.row(1), n.row(3), positions - first, size);
    }
};

#include "attention_bf16.cuh"

// A kernel for sizes of heads up to `size`.
#define EXPORT_HEADS(name, Kernel, size)                                                         \
    template <class S> struct name##_##size : Kernel<S> {                                        \
        DEVICE void run() const { this->template over<size>(); }                                 \
    };                                                                                           \
    EXPORT_BLOCK(name##_##size)

EXPORT_HEADS(attention_forward, AttentionForward, 32)
EXPORT_HEADS(attention_forward, AttentionForward, 64)
EXPORT_HEADS(attention_forward, AttentionForward, 128)
EXPORT_HEADS(attention_forward, AttentionForward, 256)
EXPORT_HEADS(attention_queries, AttentionQueries, 32)
EXPORT_HEADS(attention_queries, AttentionQueries, 64)
EXPORT_HEADS(attention_queries, AttentionQueries, 128)
EXPORT_HEADS(attention_queries, AttentionQueries, 256)
EXPORT_HEADS(attention_keys, AttentionKeys, 32)
EXPORT_HEADS(attention_keys, AttentionKeys, 64)
EXPORT_HEADS(attention_keys, AttentionKeys, 128)
EXPORT_HEADS(attention_keys, AttentionKeys, 256)

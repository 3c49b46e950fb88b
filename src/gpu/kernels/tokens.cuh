// Embeddings, positions, class tokens, patches, rotary positions, gated linear units.
#pragma once
#include "activation.cuh"

// A token as a row of the table; -1 if it is none.
template <class A> DEVICE i64 token(A x, i64 vocab) {
    return x >= A(0) && x < A(vocab) && floor(x) == x ? (i64)x : -1;
}

// y [rows, width] = multiplier table [vocab, width] at the row's token; NaN for one that is not in the table. Tokens
// are at `whole` in the arithmetic type, or if that is null at `x`. A block takes rows one after another.
template <class S> struct embedding_forward {
    typedef typename Arith<S>::T A;
    const A* whole;
    const S* x;
    i64 x_stride;
    const A* table;
    i64 table_stride;
    S* y;
    i64 y_stride;
    i64 rows;
    i64 vocab;
    i64 width;
    double multiplier;
    DEVICE void run() const {
        const A* table = this->table + blockIdx.y * table_stride;
        S* y = this->y + blockIdx.y * y_stride;
        A m = A(multiplier);
        int width = (int)this->width;
        for (i64 row = blockIdx.x; row < rows; row += gridDim.x) {
            i64 at = blockIdx.y * x_stride + row;
            i64 found = token(whole ? whole[at] : A(x[at]), vocab);
            for (int j = threadIdx.x; j < width; j += blockDim.x)
                y[row * width + j] = S(found < 0 ? A(0) / A(0) : m * table[found * width + j]);
        }
    }
};
EXPORT(embedding_forward)

// gradient [vocab, width] = multiplier times the sum over rows with the token, in their order. A block takes a row
// of the table (x) and 256 columns (z), and looks at 256 tokens at a time.
template <class S> struct embedding_gradient {
    typedef typename Arith<S>::T A;
    const A* whole;
    const S* x;
    i64 x_stride;
    const S* gy;
    i64 gy_stride;
    A* gradient;
    i64 gradient_stride;
    i64 rows;
    i64 vocab;
    i64 width;
    double multiplier;
    DEVICE void run() const {
        const S* gy = this->gy + blockIdx.y * gy_stride;
        i64 column = (i64)blockIdx.z * blockDim.x + threadIdx.x;
        SHARED(int, found, 256);
        A sum = 0;
        for (i64 first = 0; first < rows; first += blockDim.x) {
            i64 at = blockIdx.y * x_stride + first + threadIdx.x;
            bool here = first + threadIdx.x < rows &&
                        token(whole ? whole[at] : A(x[at]), vocab) == (i64)blockIdx.x;
            found[threadIdx.x] = here;
            __syncthreads();
            int count = (int)(rows - first < blockDim.x ? rows - first : blockDim.x);
            if (column < width)
                for (int i = 0; i < count; i++)
                    if (found[i]) sum += A(gy[(first + i) * width + column]);
            __syncthreads();
        }
        if (column < width)
            gradient[blockIdx.y * gradient_stride + (i64)blockIdx.x * width + column] = A(multiplier) * sum;
    }
};
EXPORT_BLOCK(embedding_gradient)

// y [rows, size] = x [rows, size] (0 if it is null) + multiplier table [size].
template <class S> struct add_rows {
    typedef typename Arith<S>::T A;
    const S* x;
    i64 x_stride;
    const A* table;
    i64 table_stride;
    S* y;
    i64 y_stride;
    i64 rows;
    i64 size;
    double multiplier;
    DEVICE void run() const {
        const A* table = this->table + blockIdx.y * table_stride;
        S* y = this->y + blockIdx.y * y_stride;
        A m = A(multiplier);
        for (i64 i = first_index(); i < size; i += index_step()) {
            A t = m * table[i];
            for (i64 row = 0; row < rows; row++) {
                i64 at = row * size + i;
                y[at] = S(x ? A(x[blockIdx.y * x_stride + at]) + t : t);
            }
        }
    }
};
EXPORT(add_rows)

// `length` numbers of each row, from `from_at` of rows at distance `from_row` to `to_at` of rows at distance `to_row`.
template <class S> struct copy_rows {
    const S* from;
    i64 from_stride;
    i64 from_row;
    i64 from_at;
    S* to;
    i64 to_stride;
    i64 to_row;
    i64 to_at;
    i64 rows;
    i64 length;
    DEVICE void run() const {
        const S* from = this->from + blockIdx.y * from_stride + from_at;
        S* to = this->to + blockIdx.y * to_stride + to_at;
        for (i64 row = blockIdx.x; row < rows; row += gridDim.x)
            for (i64 j = threadIdx.x; j < length; j += blockDim.x) to[row * to_row + j] = from[row * from_row + j];
    }
};
EXPORT(copy_rows)

// The first `width` numbers of each row [rows, size] of y = multiplier token [width].
template <class S> struct put_token {
    typedef typename Arith<S>::T A;
    const A* token;
    i64 token_stride;
    S* y;
    i64 y_stride;
    i64 rows;
    i64 size;
    i64 width;
    double multiplier;
    DEVICE void run() const {
        const A* token = this->token + blockIdx.y * token_stride;
        S* y = this->y + blockIdx.y * y_stride;
        for (i64 row = blockIdx.x; row < rows; row += gridDim.x)
            for (i64 j = threadIdx.x; j < width; j += blockDim.x) y[row * size + j] = S(A(multiplier) * token[j]);
    }
};
EXPORT(put_token)

// y [rows, width] = factor times the sum over positions of x [rows, positions, width]; a block takes a row.
template <class S> struct position_mean {
    typedef typename Arith<S>::T A;
    const S* x;
    i64 x_stride;
    S* y;
    i64 y_stride;
    i64 rows;
    i64 positions;
    i64 width;
    DEVICE void run() const {
        const S* x = this->x + blockIdx.y * x_stride;
        S* y = this->y + blockIdx.y * y_stride;
        A factor = A(1.0 / positions);
        for (i64 row = blockIdx.x; row < rows; row += gridDim.x)
            for (i64 j = threadIdx.x; j < width; j += blockDim.x) {
                A sum = 0;
                for (i64 p = 0; p < positions; p++) sum += A(x[(row * positions + p) * width + j]);
                y[row * width + j] = S(factor * sum);
            }
    }
};
EXPORT(position_mean)

// The transpose: gx [rows, positions, width] = gy [rows, width] / positions.
template <class S> struct position_spread {
    typedef typename Arith<S>::T A;
    const S* gy;
    i64 gy_stride;
    S* gx;
    i64 gx_stride;
    i64 rows;
    i64 positions;
    i64 width;
    DEVICE void run() const {
        const S* gy = this->gy + blockIdx.y * gy_stride;
        S* gx = this->gx + blockIdx.y * gx_stride;
        A factor = A(1.0 / positions);
        for (i64 row = blockIdx.x; row < rows; row += gridDim.x)
            for (i64 j = threadIdx.x; j < width; j += blockDim.x) {
                S g = S(factor * A(gy[row * width + j]));
                for (i64 p = 0; p < positions; p++) gx[(row * positions + p) * width + j] = g;
            }
    }
};
EXPORT(position_spread)

// Images [rows, channels, height, width] as patches [rows, patches, channels, h, w], or back. A block takes an
// image's channel.
template <class S> struct patches {
    const S* from;
    i64 from_stride;
    S* to;
    i64 to_stride;
    i64 rows;
    i64 channels;
    i64 height;
    i64 width;
    i64 h;
    i64 w;
    i64 back;
    DEVICE void run() const {
        const S* from = this->from + blockIdx.y * from_stride;
        S* to = this->to + blockIdx.y * to_stride;
        int width = (int)this->width, h = (int)this->h, w = (int)this->w, channels = (int)this->channels;
        int across = width / w, pixels = (int)height * width;
        for (i64 image = blockIdx.x; image < rows * channels; image += gridDim.x) {
            i64 row = image / channels;
            int channel = (int)(image % channels);
            for (int i = threadIdx.x; i < pixels; i += blockDim.x) {
                int y = i / width, x = i % width;
                int patch = (y / h) * across + x / w;
                i64 at = row * channels * pixels + ((i64)patch * channels + channel) * h * w + (y % h) * w + x % w;
                i64 in = image * pixels + i;
                if (back) to[in] = from[at];
                else to[at] = from[in];
            }
        }
    }
};
EXPORT(patches)

// Turns queries and keys of x [rows, 3 width] by their position's angles and copies the values; `sign` -1 turns back.
// A block takes a row.
template <class S> struct rope {
    typedef typename Arith<S>::T A;
    const S* x;
    i64 x_stride;
    S* y;
    i64 y_stride;
    i64 rows;
    i64 positions;
    i64 width;
    i64 head_size;
    i64 halves;
    double base;
    double sign;
    DEVICE void run() const {
        const S* x = this->x + blockIdx.y * x_stride;
        S* y = this->y + blockIdx.y * y_stride;
        int width = (int)this->width, size = (int)head_size, half = size / 2;
        for (i64 row = blockIdx.x; row < rows; row += gridDim.x) {
            const S* from = x + row * 3 * width;
            S* to = y + row * 3 * width;
            double position = (double)(row % positions);
            for (int i = threadIdx.x; i < width; i += blockDim.x) {
                // a pair of the queries or keys
                int head = i / half, pair = i % half;
                double angle = position * pow(base, -2.0 * pair / size);
                A c = A(cos(angle)), s = A(sign * sin(angle));
                int first = head * size + (halves ? pair : 2 * pair);
                int second = first + (halves ? half : 1);
                A a = A(from[first]), b = A(from[second]);
                to[first] = S(a * c - b * s);
                to[second] = S(a * s + b * c);
            }
            for (int i = 2 * width + threadIdx.x; i < 3 * width; i += blockDim.x) to[i] = from[i];
        }
    }
};
EXPORT(rope)

// y = φ(a) b for x [rows, 2 width], a beside b.
template <class S> struct glu_forward {
    typedef typename Arith<S>::T A;
    const S* x;
    i64 x_stride;
    S* y;
    i64 y_stride;
    i64 rows;
    i64 width;
    i64 kind;
    DEVICE void run() const {
        const S* x = this->x + blockIdx.y * x_stride;
        S* y = this->y + blockIdx.y * y_stride;
        for (i64 row = blockIdx.x; row < rows; row += gridDim.x)
            for (i64 j = threadIdx.x; j < width; j += blockDim.x) {
                const S* at = x + 2 * row * width + j;
                y[row * width + j] = S(phi((int)kind, A(at[0])) * A(at[width]));
            }
    }
};
EXPORT(glu_forward)

// ga = gy φ'(a) b, gb = gy φ(a).
template <class S> struct glu_backward {
    typedef typename Arith<S>::T A;
    const S* x;
    i64 x_stride;
    const S* gy;
    i64 gy_stride;
    S* gx;
    i64 gx_stride;
    i64 rows;
    i64 width;
    i64 kind;
    DEVICE void run() const {
        const S* x = this->x + blockIdx.y * x_stride;
        const S* gy = this->gy + blockIdx.y * gy_stride;
        S* gx = this->gx + blockIdx.y * gx_stride;
        for (i64 row = blockIdx.x; row < rows; row += gridDim.x)
            for (i64 j = threadIdx.x; j < width; j += blockDim.x) {
                i64 at = 2 * row * width + j;
                A a = A(x[at]), b = A(x[at + width]), g = A(gy[row * width + j]);
                gx[at] = S(g * phi_first((int)kind, a) * b);
                gx[at + width] = S(g * phi((int)kind, a));
            }
    }
};
EXPORT(glu_backward)

// dy = φ'(a) da b + φ(a) db.
template <class S> struct glu_tangent {
    typedef typename Arith<S>::T A;
    const S* x;
    i64 x_stride;
    const S* dx;
    i64 dx_stride;
    S* dy;
    i64 dy_stride;
    i64 rows;
    i64 width;
    i64 kind;
    DEVICE void run() const {
        const S* x = this->x + blockIdx.y * x_stride;
        const S* dx = this->dx + blockIdx.y * dx_stride;
        S* dy = this->dy + blockIdx.y * dy_stride;
        for (i64 row = blockIdx.x; row < rows; row += gridDim.x)
            for (i64 j = threadIdx.x; j < width; j += blockDim.x) {
                i64 at = 2 * row * width + j;
                A a = A(x[at]), b = A(x[at + width]);
                dy[row * width + j] =
                    S(phi_first((int)kind, a) * A(dx[at]) * b + phi((int)kind, a) * A(dx[at + width]));
            }
    }
};
EXPORT(glu_tangent)

// The derivative of glu_backward along dx and dgy.
template <class S> struct glu_backward_tangent {
    typedef typename Arith<S>::T A;
    const S* x;
    i64 x_stride;
    const S* dx;
    i64 dx_stride;
    const S* gy;
    i64 gy_stride;
    const S* dgy;
    i64 dgy_stride;
    S* dgx;
    i64 dgx_stride;
    i64 rows;
    i64 width;
    i64 kind;
    DEVICE void run() const {
        const S* x = this->x + blockIdx.y * x_stride;
        const S* dx = this->dx + blockIdx.y * dx_stride;
        const S* gy = this->gy + blockIdx.y * gy_stride;
        const S* dgy = this->dgy + blockIdx.y * dgy_stride;
        S* dgx = this->dgx + blockIdx.y * dgx_stride;
        for (i64 row = blockIdx.x; row < rows; row += gridDim.x)
            for (i64 j = threadIdx.x; j < width; j += blockDim.x) {
                i64 at = 2 * row * width + j;
                A a = A(x[at]), b = A(x[at + width]), da = A(dx[at]), db = A(dx[at + width]);
                A g = A(gy[row * width + j]), dg = A(dgy[row * width + j]);
                A value = phi((int)kind, a), first = phi_first((int)kind, a), second = phi_second((int)kind, a);
                dgx[at] = S(dg * first * b + g * (second * da * b + first * db));
                dgx[at + width] = S(dg * value + g * first * da);
            }
    }
};
EXPORT(glu_backward_tangent)

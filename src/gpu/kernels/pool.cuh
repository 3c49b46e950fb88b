// Pooling over windows of images, and means of whole images, as `tensor/pool.rs` has them. Planes are the images of
// all channels of all examples.
#pragma once
#include "common.cuh"

struct PoolSizes {
    i64 planes, height, width, out_height, out_width;
    i64 kernel_height, kernel_width, down, across, pad_height, pad_width;
};

// i / d in 32 bits where that is enough, which is faster.
DEVICE i64 pool_divide(i64 i, i64 d) {
    return i <= 0xffffffffll && d <= 0xffffffffll ? (i64)((unsigned)i / (unsigned)d) : i / d;
}

// Number `i` of planes of height · width: its plane, row and column.
struct PoolPlace {
    i64 plane;
    int y, x;
    DEVICE PoolPlace(i64 i, i64 height, i64 width) {
        plane = pool_divide(i, height * width);
        unsigned pixel = (unsigned)(i - plane * height * width);
        y = (int)(pixel / (unsigned)width);
        x = (int)(pixel - (unsigned)y * (unsigned)width);
    }
};

// The pixels along an axis, from `first` to before `end`, that window `o` has; with the border it has `covered`.
struct PoolWindow {
    int first, end, covered;
    DEVICE PoolWindow(int o, i64 size, i64 kernel, i64 stride, i64 pad) {
        int from = o * (int)stride, all = (int)(size + 2 * pad);
        int to = from + (int)kernel < all ? from + (int)kernel : all;
        covered = to - from;
        first = from > pad ? from - (int)pad : 0;
        end = to > pad ? to - (int)pad : 0;
        if (end > size) end = (int)size;
    }
};

// The windows along an axis, from `first` to before `end`, that have pixel `i`.
struct PoolWindows {
    int first, end;
    DEVICE PoolWindows(int i, i64 windows, i64 kernel, i64 stride, i64 pad) {
        unsigned at = (unsigned)(i + (int)pad);
        first = at < kernel ? 0 : (int)((at - (unsigned)kernel) / (unsigned)stride + 1);
        end = (int)(at / (unsigned)stride + 1);
        if (end > windows) end = (int)windows;
    }
};

// y [planes, out_height, out_width], the largest number of each window (a NaN is larger than all), and its place in the
// plane, the first of equals. A thread for each window.
template <class S> struct max_pool_forward {
    typedef typename Arith<S>::T A;
    const S* x;
    i64 x_stride;
    S* y;
    i64 y_stride;
    A* places;
    i64 places_stride;
    PoolSizes s;
    DEVICE void run() const {
        const S* x = this->x + blockIdx.y * x_stride;
        S* y = this->y + blockIdx.y * y_stride;
        A* places = this->places + blockIdx.y * places_stride;
        i64 n = s.planes * s.out_height * s.out_width;
        int width = (int)s.width;
        for (i64 i = first_index(); i < n; i += index_step()) {
            PoolPlace at(i, s.out_height, s.out_width);
            PoolWindow rows(at.y, s.height, s.kernel_height, s.down, s.pad_height);
            PoolWindow cols(at.x, s.width, s.kernel_width, s.across, s.pad_width);
            const S* plane = x + at.plane * s.height * s.width;
            int place = rows.first * width + cols.first;
            A best = A(plane[place]);
            for (int row = rows.first; row < rows.end; row++)
                for (int col = cols.first; col < cols.end; col++) {
                    A found = A(plane[row * width + col]);
                    if (found > best || (found != found && best == best)) {
                        best = found;
                        place = row * width + col;
                    }
                }
            y[i] = S(best);
            places[i] = A(place);
        }
    }
};
EXPORT(max_pool_forward)

// y [planes, out_height, out_width], the numbers of x at the places: the tangent of max_pool_forward.
template <class S> struct max_pool_tangent {
    typedef typename Arith<S>::T A;
    const S* x;
    i64 x_stride;
    const A* places;
    i64 places_stride;
    S* y;
    i64 y_stride;
    PoolSizes s;
    DEVICE void run() const {
        const S* x = this->x + blockIdx.y * x_stride;
        const A* places = this->places + blockIdx.y * places_stride;
        S* y = this->y + blockIdx.y * y_stride;
        i64 windows = s.out_height * s.out_width, n = s.planes * windows;
        for (i64 i = first_index(); i < n; i += index_step())
            y[i] = x[pool_divide(i, windows) * s.height * s.width + (int)places[i]];
    }
};
EXPORT(max_pool_tangent)

// gx [planes, height, width], the sum of gy of the windows whose place a pixel is. A thread for each pixel.
template <class S> struct max_pool_backward {
    typedef typename Arith<S>::T A;
    const S* gy;
    i64 gy_stride;
    const A* places;
    i64 places_stride;
    S* gx;
    i64 gx_stride;
    PoolSizes s;
    DEVICE void run() const {
        const S* gy = this->gy + blockIdx.y * gy_stride;
        const A* places = this->places + blockIdx.y * places_stride;
        S* gx = this->gx + blockIdx.y * gx_stride;
        i64 n = s.planes * s.height * s.width;
        int out_width = (int)s.out_width;
        for (i64 i = first_index(); i < n; i += index_step()) {
            PoolPlace at(i, s.height, s.width);
            PoolWindows rows(at.y, s.out_height, s.kernel_height, s.down, s.pad_height);
            PoolWindows cols(at.x, s.out_width, s.kernel_width, s.across, s.pad_width);
            i64 plane = at.plane * s.out_height * s.out_width;
            A place = A(at.y * (int)s.width + at.x), sum = 0;
            for (int row = rows.first; row < rows.end; row++)
                for (int col = cols.first; col < cols.end; col++) {
                    i64 window = plane + row * out_width + col;
                    if (places[window] == place) sum += A(gy[window]);
                }
            gx[i] = S(sum);
        }
    }
};
EXPORT(max_pool_backward)

// y [planes, out_height, out_width], the mean of each window; borders count as zeros if `count_border`, else not at all.
template <class S> struct avg_pool_forward {
    typedef typename Arith<S>::T A;
    const S* x;
    i64 x_stride;
    S* y;
    i64 y_stride;
    PoolSizes s;
    i64 count_border;
    DEVICE void run() const {
        const S* x = this->x + blockIdx.y * x_stride;
        S* y = this->y + blockIdx.y * y_stride;
        i64 n = s.planes * s.out_height * s.out_width;
        int width = (int)s.width;
        for (i64 i = first_index(); i < n; i += index_step()) {
            PoolPlace at(i, s.out_height, s.out_width);
            PoolWindow rows(at.y, s.height, s.kernel_height, s.down, s.pad_height);
            PoolWindow cols(at.x, s.width, s.kernel_width, s.across, s.pad_width);
            const S* plane = x + at.plane * s.height * s.width;
            A sum = 0;
            for (int row = rows.first; row < rows.end; row++)
                for (int col = cols.first; col < cols.end; col++) sum += A(plane[row * width + col]);
            int count = count_border ? rows.covered * cols.covered : (rows.end - rows.first) * (cols.end - cols.first);
            y[i] = S(sum / A(count));
        }
    }
};
EXPORT(avg_pool_forward)

// gx [planes, height, width], the sum of a pixel's shares of gy in the windows that have it: the transpose of
// avg_pool_forward.
template <class S> struct avg_pool_backward {
    typedef typename Arith<S>::T A;
    const S* gy;
    i64 gy_stride;
    S* gx;
    i64 gx_stride;
    PoolSizes s;
    i64 count_border;
    DEVICE void run() const {
        const S* gy = this->gy + blockIdx.y * gy_stride;
        S* gx = this->gx + blockIdx.y * gx_stride;
        i64 n = s.planes * s.height * s.width;
        int out_width = (int)s.out_width;
        for (i64 i = first_index(); i < n; i += index_step()) {
            PoolPlace at(i, s.height, s.width);
            PoolWindows rows(at.y, s.out_height, s.kernel_height, s.down, s.pad_height);
            PoolWindows cols(at.x, s.out_width, s.kernel_width, s.across, s.pad_width);
            const S* plane = gy + at.plane * s.out_height * s.out_width;
            A sum = 0;
            for (int row = rows.first; row < rows.end; row++) {
                PoolWindow high(row, s.height, s.kernel_height, s.down, s.pad_height);
                for (int col = cols.first; col < cols.end; col++) {
                    PoolWindow wide(col, s.width, s.kernel_width, s.across, s.pad_width);
                    int count =
                        count_border ? high.covered * wide.covered : (high.end - high.first) * (wide.end - wide.first);
                    sum += A(plane[row * out_width + col]) / A(count);
                }
            }
            gx[i] = S(sum);
        }
    }
};
EXPORT(avg_pool_backward)

// y [planes], the mean of each plane x [planes, pixels]. Planes are shared by `lanes` threads, those of a warp or of a
// block.
template <class S> struct plane_means {
    typedef typename Arith<S>::T A;
    const S* x;
    i64 x_stride;
    S* y;
    i64 y_stride;
    i64 planes;
    i64 pixels;
    i64 lanes;
    DEVICE void run() const {
        int step = (int)lanes, sets = (int)blockDim.x / step, set = (int)threadIdx.x / step;
        i64 plane = (i64)blockIdx.x * sets + set;
        const S* x = this->x + blockIdx.y * x_stride + plane * pixels;
        A sum = 0;
        if (plane < planes)
            for (i64 j = (int)threadIdx.x - set * step; j < pixels; j += step) sum += A(x[j]);
        sum = step > WARP ? block_sum(sum) : warp_sum(sum);
        if (plane < planes && (int)threadIdx.x == set * step)
            (this->y + blockIdx.y * y_stride)[plane] = S(sum / A(pixels));
    }
};
EXPORT_BLOCK(plane_means)

// gx [planes, pixels] = gy [planes] / pixels.
template <class S> struct plane_means_backward {
    typedef typename Arith<S>::T A;
    const S* gy;
    i64 gy_stride;
    S* gx;
    i64 gx_stride;
    i64 planes;
    i64 pixels;
    DEVICE void run() const {
        const S* gy = this->gy + blockIdx.y * gy_stride;
        S* gx = this->gx + blockIdx.y * gx_stride;
        A count = A(pixels);
        for (i64 i = first_index(); i < planes * pixels; i += index_step())
            gx[i] = S(A(gy[pool_divide(i, pixels)]) / count);
    }
};
EXPORT(plane_means_backward)

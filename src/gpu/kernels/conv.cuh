// Convolutions as products of patches: images to patches and back, and sums for the bias.
//
// A patch is a row: what the filter sees at one output pixel of one example, by group, filter row, filter column and
// channel of the group, which is the order of the filters. Images, patches and products lie across each other, so
// blocks of 256 threads turn squares of 32 numbers in shared memory, and both sides are read and written in whole runs.
#pragma once
#include "common.cuh"

// Squares in shared memory: their width, and the distance of their rows, which keeps columns in different banks.
#define CONV_SQUARE 32
#define CONV_PITCH 33
// Rows of a square that a warp of the eight takes.
#define CONV_EACH 4

struct ConvSizes {
    i64 examples, channels, height, width, out_height, out_width;
    i64 kernel_height, kernel_width, down, across, pad_height, pad_width;
    i64 groups;
};

// cols [examples · out pixels, distance ≥ channels · taps] from x [examples, channels, height, width]. A block takes 32
// patches, and along z every gridDim.z-th run of 32 of their numbers; a lane reads for its patch.
template <class S> struct conv_patches {
    typedef typename Arith<S>::T A;
    const S* x;
    i64 x_stride;
    S* cols;
    i64 cols_stride;
    i64 distance;
    ConvSizes sizes;
    DEVICE void run() const {
        const S* x = this->x + blockIdx.y * x_stride;
        S* cols = this->cols + blockIdx.y * cols_stride;
        SHARED(S, square, CONV_SQUARE * CONV_PITCH);
        int lane = threadIdx.x % WARP, part = threadIdx.x / WARP * CONV_EACH;
        int height = (int)sizes.height, width = (int)sizes.width, out_width = (int)sizes.out_width;
        int kernel_height = (int)sizes.kernel_height, kernel_width = (int)sizes.kernel_width;
        int channels = (int)(sizes.channels / sizes.groups), fan_in = channels * kernel_height * kernel_width;
        int columns = fan_in * (int)sizes.groups, pixels = (int)sizes.out_height * out_width;
        int rows = (int)sizes.examples * pixels, first = (int)blockIdx.x * CONV_SQUARE, row = first + lane;
        int example = row / pixels, pixel = row - example * pixels, line = pixel / out_width;
        int top = line * (int)sizes.down - (int)sizes.pad_height;
        int left = (pixel - line * out_width) * (int)sizes.across - (int)sizes.pad_width;
        const S* image = x + (i64)example * (sizes.channels * height * width);
        for (int start = (int)blockIdx.z * CONV_SQUARE; start < columns; start += (int)gridDim.z * CONV_SQUARE) {
            int column = start + part;
            int group = column / fan_in, rest = column - group * fan_in, tap = rest / channels;
            int channel = rest - tap * channels, ky = tap / kernel_width, kx = tap - ky * kernel_width;
            for (int i = 0; i < CONV_EACH; i++) {
                int at_y = top + ky, at_x = left + kx;
                bool there = row < rows && column + i < columns && (unsigned)at_y < (unsigned)height &&
                             (unsigned)at_x < (unsigned)width;
                square[(part + i) * CONV_PITCH + lane] =
                    there ? image[((i64)(group * channels + channel) * height + at_y) * width + at_x] : S(A(0));
                if (++channel == channels) {
                    channel = 0;
                    if (++kx == kernel_width) {
                        kx = 0;
                        if (++ky == kernel_height) {
                            ky = 0;
                            group++;
                        }
                    }
                }
            }
            __syncthreads();
            for (int i = part; i < part + CONV_EACH; i++)
                if (first + i < rows && start + lane < columns)
                    cols[(first + i) * distance + start + lane] = square[lane * CONV_PITCH + i];
            __syncthreads();
        }
    }
};
EXPORT_BLOCK(conv_patches)

// x [examples, channels, height, width], each number the sum of those that patches made of it: the transpose of
// conv_patches. A block takes 32 pixels, and along z every gridDim.z-th run of 32 channels; a lane sums for its channel,
// over filter rows and then filter columns.
template <class S> struct conv_images {
    typedef typename Arith<S>::T A;
    const S* cols;
    i64 cols_stride;
    S* x;
    i64 x_stride;
    i64 distance;
    ConvSizes sizes;
    DEVICE void run() const {
        const S* cols = this->cols + blockIdx.y * cols_stride;
        S* x = this->x + blockIdx.y * x_stride;
        SHARED(S, square, CONV_SQUARE * CONV_PITCH);
        int lane = threadIdx.x % WARP, part = threadIdx.x / WARP * CONV_EACH;
        int width = (int)sizes.width, area = (int)sizes.height * width;
        int out_height = (int)sizes.out_height, out_width = (int)sizes.out_width;
        int kernel_height = (int)sizes.kernel_height, kernel_width = (int)sizes.kernel_width;
        int down = (int)sizes.down, across = (int)sizes.across;
        int all = (int)sizes.channels, channels = all / (int)sizes.groups;
        int fan_in = channels * kernel_height * kernel_width;
        int pixels = (int)sizes.examples * area, first = (int)blockIdx.x * CONV_SQUARE;
        // the lane's pixel, and the first patches that see it: the filter's row and column with which they do, and
        // where they are
        int example = (first + lane) / area, pixel = first + lane - example * area, line = pixel / width;
        int y = line + (int)sizes.pad_height, x_there = pixel - line * width + (int)sizes.pad_width;
        int out_y = y / down, ky = y - out_y * down, out_x = x_there / across, kx = x_there - out_x * across;
        for (int start = (int)blockIdx.z * CONV_SQUARE; start < all; start += (int)gridDim.z * CONV_SQUARE) {
            int channel = start + lane, group = channel / channels;
            const S* numbers = cols + group * fan_in + (channel - group * channels);
            for (int i = part; i < part + CONV_EACH; i++) {
                int of = __shfl_sync(0xffffffffu, example, i) * out_height;
                int y_of = __shfl_sync(0xffffffffu, out_y, i), ky_of = __shfl_sync(0xffffffffu, ky, i);
                int x_of = __shfl_sync(0xffffffffu, out_x, i), kx_of = __shfl_sync(0xffffffffu, kx, i);
                A sum = 0;
                if (first + i < pixels && channel < all)
                    for (int k = ky_of, o = y_of; k < kernel_height && o >= 0; k += down, o--) {
                        if (o >= out_height) continue;
                        const S* run = numbers + (i64)(of + o) * out_width * distance + k * kernel_width * channels;
                        for (int l = kx_of, p = x_of; l < kernel_width && p >= 0; l += across, p--)
                            if (p < out_width) sum += A(run[p * distance + l * channels]);
                    }
                square[lane * CONV_PITCH + i] = S(sum);
            }
            __syncthreads();
            for (int i = part; i < part + CONV_EACH; i++)
                if (first + lane < pixels && start + i < all)
                    x[((i64)example * all + start + i) * area + pixel] = square[i * CONV_PITCH + lane];
            __syncthreads();
        }
    }
};
EXPORT_BLOCK(conv_images)

// y [examples, channels, pixels] = rows [examples · pixels, channels] turned, + multiplier bias [channels] (none if
// null). Blocks as in conv_images.
template <class S> struct conv_outputs {
    typedef typename Arith<S>::T A;
    const S* rows;
    i64 rows_stride;
    const A* bias;
    i64 bias_stride;
    S* y;
    i64 y_stride;
    i64 examples;
    i64 channels;
    i64 pixels;
    double multiplier;
    DEVICE void run() const {
        const S* rows = this->rows + blockIdx.y * rows_stride;
        const A* bias = this->bias + blockIdx.y * bias_stride;
        S* y = this->y + blockIdx.y * y_stride;
        SHARED(S, square, CONV_SQUARE * CONV_PITCH);
        int lane = threadIdx.x % WARP, part = threadIdx.x / WARP * CONV_EACH;
        int all = (int)channels, area = (int)pixels, count = (int)examples * area;
        int first = (int)blockIdx.x * CONV_SQUARE, example = (first + lane) / area;
        int pixel = first + lane - example * area;
        for (int start = (int)blockIdx.z * CONV_SQUARE; start < all; start += (int)gridDim.z * CONV_SQUARE) {
            int channel = start + lane;
            A shift = this->bias && channel < all ? A(multiplier) * bias[channel] : A(0);
            for (int i = part; i < part + CONV_EACH; i++)
                if (first + i < count && channel < all)
                    square[lane * CONV_PITCH + i] = S(A(rows[(i64)(first + i) * all + channel]) + shift);
            __syncthreads();
            for (int i = part; i < part + CONV_EACH; i++)
                if (first + lane < count && start + i < all)
                    y[((i64)example * all + start + i) * area + pixel] = square[i * CONV_PITCH + lane];
            __syncthreads();
        }
    }
};
EXPORT_BLOCK(conv_outputs)

// parts [runs, channels]: sums of y [examples, channels, pixels] over the pixels and the examples of a run, of which
// there are `run`. A block for each run and channel.
template <class S> struct conv_channel_parts {
    typedef typename Arith<S>::T A;
    const S* y;
    i64 y_stride;
    A* parts;
    i64 parts_stride;
    i64 examples;
    i64 channels;
    i64 pixels;
    i64 run_examples;
    DEVICE void run() const {
        A* parts = this->parts + blockIdx.y * parts_stride;
        int all = (int)channels, area = (int)pixels;
        int of = (int)blockIdx.x / all, channel = (int)blockIdx.x - of * all;
        i64 first = of * run_examples, rest = examples - first;
        int count = (int)(rest < run_examples ? rest : run_examples);
        const S* y = this->y + blockIdx.y * y_stride + (first * all + channel) * area;
        // a step is so many examples and so many pixels
        int threads = blockDim.x, examples_on = threads / area, pixels_on = threads - examples_on * area;
        int example = threadIdx.x / area, pixel = threadIdx.x - example * area;
        A sum = 0;
        while (example < count) {
            sum += A(y[(i64)example * all * area + pixel]);
            example += examples_on;
            pixel += pixels_on;
            if (pixel >= area) {
                pixel -= area;
                example++;
            }
        }
        sum = block_sum(sum);
        if (threadIdx.x == 0) parts[blockIdx.x] = sum;
    }
};
EXPORT_BLOCK(conv_channel_parts)

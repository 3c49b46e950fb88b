// Filters as tensor cores read them.
#pragma once
#include "conv_words.cuh"

// packed [groups, runs of 16 inputs, taps, runs of 16 outputs, lanes, 8] from filters w [taps, inputs, outputs] of all
// groups: of a matrix of 16 outputs × 16 inputs, each lane's eight numbers side by side, as `mma` takes them, with zeros
// where there are no more. Inputs are the convolution's outputs if `transposed`. Taps are some of the filter's: every
// `step`-th from `first` on. A thread writes for a lane.
struct conv_pack {
    const float* w;
    i64 w_stride;
    bf16* packed;
    i64 packed_stride;
    i64 groups;
    // of the filter: its width, its channels of a group, the outputs of all groups
    i64 filter_width, channels, filters;
    i64 taps_y, taps_x, first_y, first_x, step_y, step_x;
    // runs of 16
    i64 inputs, outputs;
    i64 transposed;
    DEVICE void run() const {
        const float* w = this->w + blockIdx.y * w_stride;
        bf16* packed = this->packed + blockIdx.y * packed_stride;
        unsigned taps = (unsigned)(taps_y * taps_x), matrices = (unsigned)outputs, runs = (unsigned)inputs;
        unsigned group_filters = (unsigned)(filters / groups), width = (unsigned)taps_x;
        i64 count = groups * inputs * taps * outputs * WARP;
        for (i64 i = first_index(); i < count; i += index_step()) {
            unsigned lane = (unsigned)i % WARP, matrix = (unsigned)(i / WARP);
            unsigned rest = matrix / matrices, output = (matrix - rest * matrices) * 16 + lane / 4;
            unsigned of = rest / taps, tap = rest - of * taps;
            unsigned group = of / runs, input = (of - group * runs) * 16 + lane % 4 * 2;
            i64 ky = first_y + tap / width * step_y, kx = first_x + tap % width * step_x;
            const float* at = w + (ky * filter_width + kx) * channels * filters + group * group_filters;
            bf16 all[8];
            for (int j = 0; j < 8; j++) {
                unsigned o = output + (j / 2 % 2) * 8, k = input + j / 4 * 8 + j % 2;
                unsigned filter = transposed ? k : o, channel = transposed ? o : k;
                bool there = filter < group_filters && channel < channels;
                all[j] = bf16(there ? at[channel * filters + filter] : 0.0f);
            }
            ConvEight eight;
            memcpy(&eight, all, 16);
            store_eight(packed + i * 8, eight);
        }
    }
};
EXPORT_PLAIN(conv_pack)

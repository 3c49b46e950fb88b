// Convolutions on tensor cores: products of filters and windows of pixels, without writing the windows to memory.
#pragma once
#include "conv_stage.cuh"
#include "mma.cuh"

// Numbers from a staged pixel to the next: 16 channels and 16 bytes, which keeps eight neighbours in different banks.
#define CONV_PITCH_16 24

// y [examples, outputs, out height, out width] = multiplier · filters · windows of x, + bias_multiplier · bias [outputs]
// (none if null). `filters` are packed, see conv_pack. Pixels of the view's grid are written to every out_step-th place
// from out_first on. A warp takes 64 outputs and 64 pixels; of the four, DOWN lie below each other. Blocks along x are
// those of a tile of pixels, one after another, and along z groups.
//
// Channels are taken 16 at a time; while those are multiplied, tap by tap, the next 16 are staged.
template <int DOWN> struct ConvMultiply {
    const bf16* x;
    i64 x_stride;
    const bf16* filters;
    i64 filters_stride;
    const float* bias;
    i64 bias_stride;
    bf16* y;
    i64 y_stride;
    double multiplier, bias_multiplier;
    // of all groups
    i64 outputs;
    i64 out_height, out_width, out_step_y, out_step_x, out_first_y, out_first_x;
    // whether two neighbouring pixels are two neighbours in y, from an even place on
    i64 out_pairs;
    ConvView view;

    static const int OUTPUTS = 64 * DOWN, PIXELS = 256 / DOWN;

    // The fragments of four matrices, of 16 outputs each.
    DEVICE static void load_filters(unsigned (&to)[4][4], const bf16* from) {
        CONV_UNROLL
        for (int i = 0; i < 4; i++) {
            ConvEight eight = load_eight(from + i * WARP * 8);
            CONV_UNROLL
            for (int j = 0; j < 4; j++) to[i][j] = eight.pair[j];
        }
    }

    DEVICE void run() const {
        DYNAMIC_SHARED(bf16, shared);
        int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, group = (int)blockIdx.z;
        int group_outputs = (int)(outputs / view.groups), blocks = (group_outputs + OUTPUTS - 1) / OUTPUTS;
        int block = (int)blockIdx.x % blocks;
        ConvTileAt tile(view, (int)blockIdx.x / blocks);
        int lead;
        ConvImages images = conv_images_at(view, x + blockIdx.y * x_stride, group, tile, lead);

        // two stages; where the pixels of the stage are; where the tile's pixels go
        int runs = view.runs(), wide = images.pairs ? 2 : 1, stage = view.staged() * CONV_PITCH_16;
        unsigned* places = (unsigned*)(shared + 2 * stage);
        int* goes = (int*)(places + runs);
        NEEDS_SHARED(2 * stage * sizeof(bf16) + (runs + PIXELS) * sizeof(int));
        for (int i = threadIdx.x; i < runs; i += CONV_THREADS)
            places[i] = conv_place(i * wide, (int)view.staged_rows, (int)view.staged_columns);
        int pixels = view.tile_pixels(), out_area = (int)(out_height * out_width);
        for (int i = threadIdx.x; i < PIXELS; i += CONV_THREADS) {
            unsigned place = conv_place(i, (int)view.tile_rows, (int)view.tile_columns);
            int row = tile.row + place_row(place), column = tile.column + place_column(place);
            bool there = i < pixels && place_example(place) < images.examples && row < view.rows && column < view.columns;
            row = (int)(row * out_step_y + out_first_y), column = (int)(column * out_step_x + out_first_x);
            goes[i] = there ? (int)(place_example(place) * outputs * out_area + row * out_width + column) : -1;
        }
        // the staged pixel, and which eight of its channels, that a lane shows for each 16 pixels of the warp
        int first_pixel = warp / DOWN * 64, first_output = block * OUTPUTS + warp % DOWN * 64;
        int window[4];
        CONV_UNROLL
        for (int j = 0; j < 4; j++) {
            int pixel = first_pixel + 16 * j + lane / 16 * 8 + lane % 8;
            unsigned place = conv_place(pixel, (int)view.tile_rows, (int)view.tile_columns);
            int at = pixel < pixels ? view.window(place) + lead : 0;
            window[j] = at * CONV_PITCH_16 + lane / 8 % 2 * 8;
        }

        int taps_x = (int)view.taps_x, taps = view.taps();
        int stages = taps ? (view.group_channels() + 15) / 16 : 0, steps = stages * taps;
        // from one step's filters to the next one's
        int matrices = blocks * (OUTPUTS / 16) * (WARP * 8);
        const bf16* filter = filters + blockIdx.y * filters_stride + (i64)group * steps * matrices;
        filter += (first_output / 16 * WARP + lane) * 8;
        ConvStaging<2, CONV_PITCH_16> staging(places, runs);
        int each = taps ? staging.each(taps) : 0;
        __syncthreads();

        float sums[4][8][4] = {};
        unsigned now[4][4], next[4][4];
        if (steps) {
            load_filters(now, filter);
            staging.stage(images, 0, shared, each * taps);
        }
        __syncthreads();
        CONV_NO_UNROLL
        for (int s = 0; s < stages; s++) {
            const bf16* staged = shared + s % 2 * stage;
            bf16* to = shared + (s + 1) % 2 * stage;
            int channel = 16 * (s + 1), tap_x = 0, shift = 0;
            bool more = s + 1 < stages;
            staging.begin();
            CONV_NO_UNROLL
            for (int tap = 0; tap < taps; tap++) {
                // what comes next is on its way while this tap is multiplied
                bool any = more && staging.any();
                ConvRun run;
                if (any) run = staging.read(images, channel);
                if (more || tap + 1 < taps) filter += matrices;
                load_filters(next, filter);
                unsigned pixel[4][4];
                CONV_UNROLL
                for (int j = 0; j < 4; j++) load_matrices(pixel[j], staged + window[j] + shift);
                CONV_UNROLL
                for (int j = 0; j < 4; j++) {
                    CONV_UNROLL
                    for (int i = 0; i < 4; i++) {
                        mma(sums[i][2 * j], now[i], pixel[j][0], pixel[j][1]);
                        mma(sums[i][2 * j + 1], now[i], pixel[j][2], pixel[j][3]);
                    }
                }
                if (any) {
                    staging.write(run, images, to);
                    staging.advance();
                    staging.stage(images, channel, to, each - 1);
                }
                CONV_UNROLL
                for (int i = 0; i < 4; i++) {
                    CONV_UNROLL
                    for (int j = 0; j < 4; j++) now[i][j] = next[i][j];
                }
                shift += CONV_PITCH_16;
                if (++tap_x == taps_x) {
                    tap_x = 0;
                    shift += (int)(view.staged_columns - taps_x) * CONV_PITCH_16;
                }
            }
            __syncthreads();
        }
        if (out_pairs) write<true>(sums, goes + first_pixel, tile, group, group_outputs, first_output);
        else write<false>(sums, goes + first_pixel, tile, group, group_outputs, first_output);
    }

    template <bool PAIRS>
    DEVICE void write(const float (&sums)[4][8][4], const int* goes, const ConvTileAt& tile, int group, int group_outputs,
                      int first_output) const {
        int lane = threadIdx.x % WARP, area = (int)(out_height * out_width);
        bf16* y = this->y + blockIdx.y * y_stride + ((i64)tile.example * outputs + (i64)group * group_outputs) * area;
        const float* bias = this->bias ? this->bias + blockIdx.y * bias_stride + group * group_outputs : nullptr;
        float by = (float)multiplier;
        int first = first_output + lane / 4;
        y += (i64)first * area;
        // the lane's eight outputs are 8 apart
        float shift[8];
        CONV_UNROLL
        for (int i = 0; i < 8; i++)
            shift[i] = bias && first + 8 * i < group_outputs ? (float)bias_multiplier * bias[first + 8 * i] : 0.0f;
        CONV_UNROLL
        for (int j = 0; j < 8; j++) {
            int place = goes[8 * j + lane % 4 * 2], next = goes[8 * j + lane % 4 * 2 + 1];
            int most = place >= 0 ? group_outputs - first : 0, next_most = next >= 0 ? group_outputs - first : 0;
            CONV_UNROLL
            for (int i = 0; i < 8; i++) {
                float a = by * sums[i / 2][j][i % 2 * 2] + shift[i], b = by * sums[i / 2][j][i % 2 * 2 + 1] + shift[i];
                // 31 bits are enough within a tile
                unsigned to = (unsigned)(8 * i * area);
                if (PAIRS) {
                    if (8 * i < most) store_pair(y + (to + place), bf16_pair(a, b));
                } else {
                    if (8 * i < most) y[to + place] = bf16(a);
                    if (8 * i < next_most) y[to + next] = bf16(b);
                }
            }
        }
    }
};
ENTRY(conv_multiply_64_bf16, ConvMultiply<1>, true)
ENTRY(conv_multiply_128_bf16, ConvMultiply<2>, true)

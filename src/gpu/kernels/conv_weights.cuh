// Gradients of filters on tensor cores: products of windows of pixels and gradients of outputs, summed over pixels.
#pragma once
#include "conv_stage.cuh"
#include "mma.cuh"

// Distance of the staged pixels of gradients: 64 outputs and 16 bytes, which keeps eight neighbours in different banks.
#define CONV_PITCH_64 72
// Pixels of a tile.
#define CONV_PIXELS 128

// parts [splits, taps, channels, outputs] = multiplier · windows of x · gy [examples, outputs, rows, columns], each part
// the sum over so many tiles of pixels, and outputs those of all groups. A block takes 64 outputs, 32 EIGHTS channels and
// TAPS taps; each of its four warps all those outputs and taps for 8 EIGHTS channels. Blocks along x are those of a
// split, one after another, and along z groups.
//
// While a tile is multiplied, 32 pixels at a time, the next one is staged.
template <int TAPS, int EIGHTS> struct ConvWeights {
    const bf16* x;
    i64 x_stride;
    const bf16* gy;
    i64 gy_stride;
    float* parts;
    i64 parts_stride;
    double multiplier;
    // of all groups
    i64 outputs;
    // tiles of a split; the last one's may be fewer
    i64 tiles;
    // whether pixels of gy are staged two at a time
    i64 gy_pairs;
    ConvView view;

    static const int CHANNELS = 32 * EIGHTS, PITCH = CHANNELS + 8, PAIRS = (TAPS * EIGHTS + 1) / 2;

    // How the gradients are staged: the tile's pixels themselves.
    DEVICE ConvView gradients() const {
        ConvView grid = view;
        grid.channels = outputs;
        grid.height = view.rows;
        grid.width = view.columns;
        grid.step_y = grid.step_x = grid.grain_y = grid.grain_x = 1;
        grid.first_y = grid.first_x = 0;
        grid.staged_rows = view.tile_rows;
        grid.staged_columns = view.tile_columns;
        grid.pairs = gy_pairs;
        return grid;
    }

    DEVICE void run() const {
        DYNAMIC_SHARED(bf16, shared);
        int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, group = (int)blockIdx.z;
        int channels = view.group_channels(), group_outputs = (int)(outputs / view.groups), taps = view.taps();
        int of_taps = (taps + TAPS - 1) / TAPS, of_outputs = (group_outputs + 63) / 64;
        int of_channels = (channels + CHANNELS - 1) / CHANNELS;
        int block = (int)blockIdx.x, first_tap = block % of_taps * TAPS;
        block /= of_taps;
        int first_output = block % of_outputs * 64;
        block /= of_outputs;
        int first_channel = block % of_channels * CHANNELS, split = block / of_channels;

        // two stages of gradients and windows; where their pixels are; what the tile's pixels see
        ConvView grid = gradients();
        int pixels = view.tile_pixels(), runs = view.runs(), gy_runs = grid.runs();
        int steps = (pixels + 31) / 32, gy_stage = 32 * steps * CONV_PITCH_64, stage = gy_stage + view.staged() * PITCH;
        unsigned* places = (unsigned*)(shared + 2 * stage);
        unsigned* gy_places = places + runs;
        // as many as pixels at most
        int* windows = (int*)(gy_places + CONV_PIXELS);
        NEEDS_SHARED(2 * stage * sizeof(bf16) + (runs + 2 * CONV_PIXELS) * sizeof(int));
        for (int i = threadIdx.x; i < runs; i += CONV_THREADS)
            places[i] = conv_place(view.pairs ? 2 * i : i, (int)view.staged_rows, (int)view.staged_columns);
        for (int i = threadIdx.x; i < gy_runs; i += CONV_THREADS)
            gy_places[i] = conv_place(gy_pairs ? 2 * i : i, (int)view.tile_rows, (int)view.tile_columns);
        for (int i = threadIdx.x; i < 32 * steps; i += CONV_THREADS) {
            unsigned place = conv_place(i, (int)view.tile_rows, (int)view.tile_columns);
            windows[i] = i < pixels ? view.window(place) * PITCH : 0;
            // where there is no pixel, gradients stay 0
            for (int j = 0; i >= pixels && j < 64; j += 8) {
                store_eight(shared + i * CONV_PITCH_64 + j, ConvEight{});
                store_eight(shared + stage + i * CONV_PITCH_64 + j, ConvEight{});
            }
        }
        // how far what a lane shows is from the first tap's window: of each two, the first half of the warp shows pixels
        // for the first and the other half for the second; beyond the last one the last one again
        int shift[PAIRS];
        CONV_UNROLL
        for (int i = 0; i < PAIRS; i++) {
            int j = 2 * i + lane / 16, tap = first_tap + j / EIGHTS;
            if (tap >= taps) tap = taps - 1;
            int row = tap / (int)view.taps_x, column = tap - row * (int)view.taps_x;
            shift[i] = (row * (int)view.staged_columns + column) * PITCH + j % EIGHTS * 8;
        }
        int tile = split * (int)tiles, end = tile + (int)tiles;
        if (end > all_tiles()) end = all_tiles();
        ConvStaging<CHANNELS / 8, PITCH> staging(places, runs);
        ConvStaging<8, CONV_PITCH_64> gy_staging(gy_places, gy_runs);
        int each = staging.each(steps), gy_each = gy_staging.each(steps);
        const bf16 *x = this->x + blockIdx.y * x_stride, *gy = this->gy + blockIdx.y * gy_stride;
        __syncthreads();

        float sums[4][2 * PAIRS][4] = {};
        int lead = 0, gy_lead, buffer = 0;
        if (tile < end) {
            ConvTileAt at(view, tile);
            ConvImages of_x = conv_images_at(view, x, group, at, lead), of_gy = conv_images_at(grid, gy, group, at, gy_lead);
            staging.stage(of_x, first_channel, shared + gy_stage, each * steps);
            gy_staging.stage(of_gy, first_output, shared, gy_each * steps);
        }
        __syncthreads();
        CONV_NO_UNROLL
        for (; tile < end; tile++) {
            bool more = tile + 1 < end;
            ConvTileAt at(view, more ? tile + 1 : tile);
            int next_lead;
            ConvImages of_x = conv_images_at(view, x, group, at, next_lead);
            ConvImages of_gy = conv_images_at(grid, gy, group, at, gy_lead);
            const bf16* staged = shared + buffer * stage;
            bf16* to = shared + (1 - buffer) * stage;
            staging.begin();
            gy_staging.begin();
            CONV_NO_UNROLL
            for (int step = 0; step < steps; step++) {
                const bf16* gradient = staged + (step * 32 + lane / 16 * 8 + lane % 8) * CONV_PITCH_64 + lane / 8 % 2 * 8;
                const bf16* window = staged + gy_stage + lead * PITCH + warp * 8 * EIGHTS;
                // what comes next is on its way while these pixels are multiplied
                bool any = more && gy_staging.any();
                ConvRun run;
                if (any) run = gy_staging.read(of_gy, first_output);
                multiply(sums, gradient, window + windows[step * 32 + lane % 16], shift);
                if (any) {
                    gy_staging.write(run, of_gy, to);
                    gy_staging.advance();
                    gy_staging.stage(of_gy, first_output, to, gy_each - 1);
                }
                any = more && staging.any();
                if (any) run = staging.read(of_x, first_channel);
                multiply(sums, gradient + 16 * CONV_PITCH_64, window + windows[step * 32 + 16 + lane % 16], shift);
                if (any) {
                    staging.write(run, of_x, to + gy_stage);
                    staging.advance();
                    staging.stage(of_x, first_channel, to + gy_stage, each - 1);
                }
            }
            __syncthreads();
            lead = next_lead;
            buffer = 1 - buffer;
        }
        write(sums, group, split, first_tap, first_channel + warp * 8 * EIGHTS, first_output);
    }

    DEVICE int all_tiles() const {
        i64 across = (view.columns + view.tile_columns - 1) / view.tile_columns;
        i64 down = (view.rows + view.tile_rows - 1) / view.tile_rows;
        return (int)((view.examples + view.tile_examples - 1) / view.tile_examples * down * across);
    }

    // Adds what 16 pixels give.
    DEVICE static void multiply(float (&sums)[4][2 * PAIRS][4], const bf16* gradient, const bf16* window,
                                const int (&shift)[PAIRS]) {
        unsigned outputs[4][4];
        CONV_UNROLL
        for (int i = 0; i < 4; i++) load_matrices_transposed(outputs[i], gradient + 16 * i);
        CONV_UNROLL
        for (int j = 0; j < PAIRS; j++) {
            unsigned pixels[4];
            load_matrices_transposed(pixels, window + shift[j]);
            CONV_UNROLL
            for (int i = 0; i < 4; i++) mma(sums[i][2 * j], outputs[i], pixels[0], pixels[1]);
            if (2 * j + 1 == TAPS * EIGHTS) continue;
            CONV_UNROLL
            for (int i = 0; i < 4; i++) mma(sums[i][2 * j + 1], outputs[i], pixels[2], pixels[3]);
        }
    }

    DEVICE void write(const float (&sums)[4][2 * PAIRS][4], int group, int split, int first_tap, int first_channel,
                      int first_output) const {
        int lane = threadIdx.x % WARP, channels = view.group_channels(), taps = view.taps();
        int group_outputs = (int)(outputs / view.groups);
        float* to = parts + blockIdx.y * parts_stride + (i64)split * taps * channels * outputs + group * group_outputs;
        CONV_UNROLL
        for (int j = 0; j < TAPS * EIGHTS; j++) {
            CONV_UNROLL
            for (int i = 0; i < 4; i++) {
                CONV_UNROLL
                for (int k = 0; k < 4; k++) {
                    int tap = first_tap + j / EIGHTS, channel = first_channel + j % EIGHTS * 8 + lane % 4 * 2 + k % 2;
                    int output = first_output + 16 * i + k / 2 * 8 + lane / 4;
                    if (tap < taps && channel < channels && output < group_outputs)
                        to[((i64)tap * channels + channel) * outputs + output] = (float)multiplier * sums[i][j][k];
                }
            }
        }
    }
};
typedef ConvWeights<9, 1> ConvWeights9;
typedef ConvWeights<1, 2> ConvWeights1;
ENTRY(conv_weights_9_bf16, ConvWeights9, true)
ENTRY(conv_weights_1_bf16, ConvWeights1, true)

// sums [n] = multiplier times the sum over parts [splits, n], of which there are few, in their order.
struct conv_weight_sums {
    const float* parts;
    i64 parts_stride;
    float* sums;
    i64 sums_stride;
    i64 splits;
    i64 n;
    double multiplier;
    DEVICE void run() const {
        const float* parts = this->parts + blockIdx.y * parts_stride;
        float* sums = this->sums + blockIdx.y * sums_stride;
        for (i64 i = first_index(); i < n; i += index_step()) {
            const float* part = parts + i;
            float sum = 0;
            int of = (int)splits;
            CONV_UNROLL_8
            for (int s = 0; s < of; s++, part += n) sum += *part;
            sums[i] = (float)multiplier * sum;
        }
    }
};
EXPORT_PLAIN(conv_weight_sums)

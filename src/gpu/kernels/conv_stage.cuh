// Staging tiles of pixels in shared memory, see conv_tile.cuh. Images are by channel and then by pixel, so staging turns
// them: a thread reads eight channels of one pixel, or of two neighbouring ones, and writes them as 16 bytes each.
#pragma once
#include "conv_tile.cuh"
#include "conv_words.cuh"

// Numbers that a thread is about to stage: eight channels of one pixel, or of two side by side.
struct ConvRun {
    unsigned channel[8];
};

// Images of which a tile is staged.
struct ConvImages {
    // the tile's first example, the first channel of the group
    const bf16* at;
    // numbers of an example, examples from the tile's first one on
    int example, examples;
    int channels, area, height, width;
    // where the tile's staged pixels begin, and how far they are from each other
    int top, left, grain_y, grain_x;
    bool pairs;

    DEVICE ConvRun read(unsigned place, int channel) const {
        int of = place_example(place), y = top + place_row(place) * grain_y, x = left + place_column(place) * grain_x;
        // two side by side are both inside, since `pairs` is for even widths
        bool there = of < examples && (unsigned)y < (unsigned)height && (unsigned)x < (unsigned)width;
        int most = there ? channels - channel : 0;
        // 31 bits are enough within a tile
        unsigned first = (unsigned)(channel * area + of * example + y * width + x);
        ConvRun run;
        if (pairs) {
            CONV_UNROLL
            for (int i = 0; i < 8; i++) run.channel[i] = i < most ? load_pair(at + (first + i * area)) : 0;
        } else {
            CONV_UNROLL
            for (int i = 0; i < 8; i++) run.channel[i] = i < most ? load_bits(at + (first + i * area)) : 0;
        }
        return run;
    }

    // Writes it to the staged pixels that begin at `to` and have the distance `pitch`.
    DEVICE void write(const ConvRun& run, bf16* to, int pitch) const {
        ConvEight first, second;
        CONV_UNROLL
        for (int i = 0; i < 4; i++) {
            first.pair[i] = lower_halves(run.channel[2 * i], run.channel[2 * i + 1]);
            second.pair[i] = upper_halves(run.channel[2 * i], run.channel[2 * i + 1]);
        }
        if (!pairs) {
            store_eight(to, first);
            return;
        }
        // of eight threads that write at the same time, four write their first and four their second pixel: all banks
        bool swap = threadIdx.x & 4;
        CONV_UNROLL
        for (int i = 0; i < 4; i++) {
            unsigned a = first.pair[i], b = second.pair[i];
            first.pair[i] = swap ? b : a;
            second.pair[i] = swap ? a : b;
        }
        store_eight(to + (swap ? pitch : 0), first);
        store_eight(to + (swap ? 0 : pitch), second);
    }
};

// What a view stages of x at a tile, for a group; `lead` is how many columns are staged before the first window.
DEVICE ConvImages conv_images_at(const ConvView& view, const bf16* x, int group, const ConvTileAt& tile, int& lead) {
    ConvImages images;
    images.area = view.area();
    images.example = (int)(view.channels * images.area);
    images.channels = view.group_channels();
    images.at = x + (i64)tile.example * images.example + (i64)group * images.channels * images.area;
#ifdef __CUDACC__
    // else the compiler adds these offsets to each address anew
    size_t at = __cvta_generic_to_global(images.at);
    asm("" : "+l"(at));
    images.at = (const bf16*)__cvta_global_to_generic(at);
#endif
    images.examples = (int)view.examples - tile.example;
    images.height = (int)view.height;
    images.width = (int)view.width;
    images.top = (int)(view.first_y + tile.row * view.step_y);
    images.left = (int)(view.first_x + tile.column * view.step_x);
    images.grain_y = (int)view.grain_y;
    images.grain_x = (int)view.grain_x;
    images.pairs = view.pairs;
    // pairs begin at even columns
    lead = view.pairs ? images.left & 1 : 0;
    images.left -= lead;
    return images;
}

// How the threads of a block stage a tile: each a run of pixels and eight channels of it, and then the next ones. PITCH
// is the distance of staged pixels, EIGHTS how many times eight channels each has.
template <int EIGHTS, int PITCH> struct ConvStaging {
    const unsigned* places;
    int runs, run, eight;

    DEVICE ConvStaging(const unsigned* places, int runs) : places(places), runs(runs) { begin(); }
    DEVICE void begin() {
        run = (int)threadIdx.x;
        eight = 0;
        wrap();
    }
    DEVICE void advance() {
        run += CONV_THREADS;
        wrap();
    }
    DEVICE void wrap() {
        while (run >= runs && eight < EIGHTS) {
            run -= runs;
            eight++;
        }
    }
    DEVICE bool any() const { return eight < EIGHTS; }
    // How many times a thread does so, if all is to be staged after so many steps.
    DEVICE int each(int steps) const { return (runs * EIGHTS + CONV_THREADS * steps - 1) / (CONV_THREADS * steps); }
    DEVICE ConvRun read(const ConvImages& images, int channel) const {
        return images.read(places[run], channel + eight * 8);
    }
    DEVICE void write(const ConvRun& numbers, const ConvImages& images, bf16* staged) const {
        images.write(numbers, staged + (images.pairs ? 2 * run : run) * PITCH + eight * 8, PITCH);
    }
    DEVICE void stage(const ConvImages& images, int channel, bf16* staged, int times) {
        CONV_NO_UNROLL
        for (int i = 0; i < times && any(); i++, advance()) write(read(images, channel), images, staged);
    }
};

// Tiles of pixels, for convolutions on tensor cores.
//
// A block computes for a tile of pixels: some examples, some rows and some columns of the grid of pixels that a kernel
// goes over. What the filter sees there, the tile's windows, is staged once in shared memory, by pixel and then by
// channel: every tap of the filter reads the same staged pixels, at another shift, and a shift by a pixel is one by whole
// 16 bytes, as matrices of tensor cores want it.
#pragma once
#include "common.cuh"

// Threads of a block.
#define CONV_THREADS 128

// Where a pixel is in a tile: 12 bits for the example, 10 for the row, 10 for the column.
DEVICE unsigned conv_place(int n, int rows, int columns) {
    int line = n / columns, example = line / rows;
    return (unsigned)example << 20 | (unsigned)(line - example * rows) << 10 | (unsigned)(n - line * columns);
}
DEVICE int place_example(unsigned place) { return (int)(place >> 20); }
DEVICE int place_row(unsigned place) { return (int)(place >> 10 & 1023); }
DEVICE int place_column(unsigned place) { return (int)(place & 1023); }

// What a convolution sees where: fields of kernels.
struct ConvView {
    // images that are staged, `channels` in all groups
    i64 examples, channels, height, width, groups;
    // the grid of pixels whose windows are staged
    i64 rows, columns;
    // how far windows are from each other, where the first one begins, and how large they are
    i64 step_y, step_x, first_y, first_x, taps_y, taps_x;
    // the tile, in pixels of the grid
    i64 tile_examples, tile_rows, tile_columns;
    // how far staged pixels are from each other, how many there are, and whether they are staged two at a time
    i64 grain_y, grain_x, staged_rows, staged_columns, pairs;

    DEVICE int area() const { return (int)(height * width); }
    DEVICE int taps() const { return (int)(taps_y * taps_x); }
    DEVICE int group_channels() const { return (int)(channels / groups); }
    DEVICE int tile_pixels() const { return (int)(tile_examples * tile_rows * tile_columns); }
    DEVICE int staged() const { return (int)(tile_examples * staged_rows * staged_columns); }
    // Runs of staged pixels that a thread stages at once.
    DEVICE int runs() const { return pairs ? staged() / 2 : staged(); }
    // The first staged pixel that a tile's pixel sees.
    DEVICE int window(unsigned place) const {
        int row = (int)(place_example(place) * staged_rows + place_row(place) * step_y / grain_y);
        return (int)(row * staged_columns + place_column(place) * step_x / grain_x);
    }
};

// The tile that a block is at: its first example, row and column.
struct ConvTileAt {
    int example, row, column;
    DEVICE ConvTileAt(const ConvView& view, int tile) {
        int across = (int)((view.columns + view.tile_columns - 1) / view.tile_columns);
        int down = (int)((view.rows + view.tile_rows - 1) / view.tile_rows);
        int line = tile / across, of = line / down;
        example = (int)(of * view.tile_examples);
        row = (int)((line - of * down) * view.tile_rows);
        column = (int)((tile - line * across) * view.tile_columns);
    }
};

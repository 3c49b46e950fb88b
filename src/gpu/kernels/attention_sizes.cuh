// What kernels of attention take: sizes, and where rows of queries, keys and values are.
#pragma once
#include "common.cuh"

#ifdef __CUDACC__
#define TILE_UNROLL _Pragma("unroll")
#define TILE_UNROLL_4 _Pragma("unroll 4")
#else
#define TILE_UNROLL
#define TILE_UNROLL_4
#endif

// Sizes of x [batch, positions, 3 heads head_size]; y has a third of the channels.
struct AttentionSizes {
    i64 positions;
    i64 heads;
    i64 head_size;
    i64 causal;
    double scale;

    // Where a row of an example's head begins, among `parts` that lie side by side.
    DEVICE i64 offset(i64 pair, i64 position, int part, int parts) const {
        i64 row = (pair / heads * positions + position) * parts + part;
        return (row * heads + pair % heads) * head_size;
    }
    DEVICE i64 row(int parts) const { return parts * heads * head_size; }
    DEVICE bool sees(int query, int key) const {
        return query < positions && key < positions && !(causal && key > query);
    }
};

// Rows of one example and head: `count` of them at distance `row`.
template <class S> struct HeadRows {
    const S* at;
    i64 row;
    int count;

    DEVICE HeadRows(const S* x, const AttentionSizes& n, i64 pair, int first, int part, int parts)
        : at(x + n.offset(pair, first, part, parts)), row(n.row(parts)), count((int)n.positions - first) {}
    DEVICE HeadRows(HeadRows rows, int first) : at(rows.at + first * rows.row), row(rows.row), count(rows.count - first) {}
};

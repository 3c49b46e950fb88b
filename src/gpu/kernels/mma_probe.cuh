// One product and one load of mma.cuh each, on numbers that a test gives to each lane. In the emulator alone.
#pragma once
#include "mma.cuh"

// c += a b: registers of 32 lanes, four of a, two of b, four of c each.
struct mma_probe {
    const unsigned* a;
    const unsigned* b;
    float* c;
    DEVICE void run() const {
        int lane = threadIdx.x;
        unsigned left[4];
        float sums[4];
        for (int i = 0; i < 4; i++) {
            left[i] = a[4 * lane + i];
            sums[i] = c[4 * lane + i];
        }
        mma(sums, left, b[2 * lane], b[2 * lane + 1]);
        for (int i = 0; i < 4; i++) c[4 * lane + i] = sums[i];
    }
};
ENTRY(mma_probe_plain, mma_probe, true)

// The four registers of 32 lanes that get four matrices of `numbers`, and those that get them transposed; rows begin
// at `rows`, one for each lane.
struct load_probe {
    const bf16* numbers;
    const i64* rows;
    unsigned* plain;
    unsigned* transposed;
    DEVICE void run() const {
        int lane = threadIdx.x;
        unsigned to[4];
        load_matrices(to, numbers + rows[lane]);
        for (int i = 0; i < 4; i++) plain[4 * lane + i] = to[i];
        load_matrices_transposed(to, numbers + rows[lane]);
        for (int i = 0; i < 4; i++) transposed[4 * lane + i] = to[i];
    }
};
ENTRY(load_probe_plain, load_probe, true)

// Products of matrices of bf16 by tensor cores: a whole warp multiplies 16×16 by 16×8 numbers, of which each lane
// holds some, a fragment. Layouts are those of the PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point
// type". All lanes of a warp must take part.
#pragma once
#include "common.cuh"

// Two numbers in a register, the first in its lower half.
DEVICE unsigned bf16_pair(float low, float high) {
#ifdef __CUDACC__
    unsigned pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
#else
    return bf16(low).bits | (unsigned)bf16(high).bits << 16;
#endif
}

// Writes a pair to an even place.
DEVICE void store_pair(bf16* to, unsigned pair) {
#ifdef __CUDACC__
    *(unsigned*)to = pair;
#else
    emulated_aligned(to, 4);
    memcpy(to, &pair, 4);
#endif
}

// 2 to the power x, as exact as f32 needs for numbers that bf16 will hold.
DEVICE float fast_exp2(float x) {
#ifdef __CUDACC__
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#else
    return std::exp2(x);
#endif
}

#ifndef __CUDACC__
// The k-th of 16 numbers, where each of four lanes has two of the first eight in one register and two of the others
// in the next one, `apart` further.
inline float emulated_number(const EmulatedRegisters* lanes, int first, int apart, int k) {
    bf16 number;
    number.bits = (unsigned short)(lanes[k % 8 / 2].word[first + k / 8 * apart] >> 16 * (k % 2));
    return number;
}
#endif

// c += a b. With g = lane / 4 and t = lane % 4, a lane holds, of a, rows g and g + 8 of columns 2t and 2t + 1, then of
// columns 2t + 8 and 2t + 9; of b, column g of rows 2t and 2t + 1, then 2t + 8 and 2t + 9; of c, columns 2t and 2t + 1
// of rows g and g + 8. So two neighbouring c, rounded, are an a.
DEVICE void mma(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
#ifdef __CUDACC__
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
    EmulatedRegisters mine = {{a[0], a[1], a[2], a[3], b0, b1}}, lanes[WARP];
    emulated_gather(mine, lanes);
    int lane = (int)threadIdx.x % WARP;
    for (int i = 0; i < 4; i++) {
        int row = lane / 4, column = lane % 4 * 2 + i % 2;
        for (int k = 0; k < 16; k++)
            c[i] += emulated_number(lanes + 4 * row, i / 2, 2, k) * emulated_number(lanes + 4 * column, 4, 1, k);
    }
#endif
}

// Four matrices of 8×8 from shared memory, whose rows begin where lanes say: lanes 0 to 7 the rows of the first, 8 to
// 15 of the second, and so on. Of each, a lane gets columns 2t and 2t + 1 of row g. Rows begin at multiples of 16
// bytes.
DEVICE void load_matrices(unsigned (&to)[4], const bf16* row) {
#ifdef __CUDACC__
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"((unsigned)__cvta_generic_to_shared(row))
                 : "memory");
#else
    int lane = (int)threadIdx.x % WARP;
    emulated_aligned(row, 16);
    const bf16* rows[WARP];
    emulated_rows(row, rows);
    for (int i = 0; i < 4; i++) memcpy(&to[i], rows[8 * i + lane / 4] + lane % 4 * 2, 4);
#endif
}

// The same, transposed: a lane gets rows 2t and 2t + 1 of column g.
DEVICE void load_matrices_transposed(unsigned (&to)[4], const bf16* row) {
#ifdef __CUDACC__
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"((unsigned)__cvta_generic_to_shared(row))
                 : "memory");
#else
    int lane = (int)threadIdx.x % WARP;
    emulated_aligned(row, 16);
    const bf16* rows[WARP];
    emulated_rows(row, rows);
    for (int i = 0; i < 4; i++) {
        const bf16* const* at = rows + 8 * i + lane % 4 * 2;
        to[i] = at[0][lane / 4].bits | (unsigned)at[1][lane / 4].bits << 16;
    }
#endif
}

// Numbers of bf16 in words, and what loops of convolutions on tensor cores say to the compiler.
#pragma once
#include "common.cuh"

#ifdef __CUDACC__
#define CONV_UNROLL _Pragma("unroll")
#define CONV_UNROLL_8 _Pragma("unroll 8")
#define CONV_NO_UNROLL _Pragma("unroll 1")
#else
#define CONV_UNROLL
#define CONV_UNROLL_8
#define CONV_NO_UNROLL
#endif

// Sixteen bytes: eight numbers of bf16.
struct __align__(16) ConvEight {
    unsigned pair[4];
};

DEVICE ConvEight load_eight(const bf16* from) {
#ifdef __CUDACC__
    uint4 all = *(const uint4*)from;
    return {{all.x, all.y, all.z, all.w}};
#else
    emulated_aligned(from, 16);
    ConvEight all;
    memcpy(&all, (const void*)from, 16);
    return all;
#endif
}

DEVICE void store_eight(bf16* to, const ConvEight& all) {
#ifdef __CUDACC__
    *(uint4*)to = make_uint4(all.pair[0], all.pair[1], all.pair[2], all.pair[3]);
#else
    emulated_aligned(to, 16);
    memcpy((void*)to, &all, 16);
#endif
}

// A number's bits, in the lower half.
DEVICE unsigned load_bits(const bf16* from) {
#ifdef __CUDACC__
    return *(const unsigned short*)from;
#else
    return from->bits;
#endif
}

// Two numbers, the first in the lower half; the place is even.
DEVICE unsigned load_pair(const bf16* from) {
#ifdef __CUDACC__
    return *(const unsigned*)from;
#else
    emulated_aligned(from, 4);
    unsigned pair;
    memcpy(&pair, (const void*)from, 4);
    return pair;
#endif
}

// The lower halves of two words, and the upper ones.
DEVICE unsigned lower_halves(unsigned a, unsigned b) {
#ifdef __CUDACC__
    return __byte_perm(a, b, 0x5410);
#else
    return (a & 0xffff) | b << 16;
#endif
}
DEVICE unsigned upper_halves(unsigned a, unsigned b) {
#ifdef __CUDACC__
    return __byte_perm(a, b, 0x7632);
#else
    return a >> 16 | (b & 0xffff0000u);
#endif
}

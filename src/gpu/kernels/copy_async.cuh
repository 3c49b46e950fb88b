// Copies from global to shared memory that go on while the threads compute.
#pragma once
#include "common.cuh"

// Starts copying N bytes, 4 or 16, both places being multiples of N; or writes zeros, where `inside` is false.
template <int N, class T> DEVICE void copy_async(T* to, const T* from, bool inside) {
#ifdef __CUDACC__
    unsigned at = (unsigned)__cvta_generic_to_shared(to);
    int bytes = inside ? N : 0;
    // those of 16 bytes leave out the first cache, for they are read once by a block
    if constexpr (N == 16)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(bytes) : "memory");
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(at), "l"(from), "n"(N), "r"(bytes)
                     : "memory");
#else
    emulated_aligned(to, N);
    emulated_aligned(from, N);
    emulated_copy(to, inside ? from : nullptr, N);
#endif
}

// Waits for the copies of this thread; a barrier must follow before others read them.
DEVICE void wait_for_copies() {
#ifdef __CUDACC__
    asm volatile("cp.async.wait_all;" ::: "memory");
#else
    emulated_copies();
#endif
}

// Copies 16 bytes at once, both places being multiples of 16.
template <class T> DEVICE void copy_16_bytes(T* to, const T* from) {
#ifdef __CUDACC__
    *(uint4*)to = *(const uint4*)from;
#else
    emulated_aligned(to, 16);
    emulated_aligned(from, 16);
    memcpy((void*)to, (const void*)from, 16);
#endif
}

// What all kernels share.
//
// A kernel is a struct: its fields, of eight bytes each (pointers, i64, double), are the arguments, and every
// thread calls its method `run`. EXPORT makes it callable by name. `S` is the type in which activations are
// stored, float, double or bf16; arithmetic, statistics, parameters and their gradients have the type
// `Arith<S>::T`, float or double. Blocks are one-dimensional, of at most 256 threads and a multiple of 32;
// blockIdx.y is the member where there are several.
//
// The same sources are compiled for GPUs and, by `emulator.h`, for the CPU, where the tests run them.
#pragma once

typedef long long i64;

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <math_constants.h>
typedef __nv_bfloat16 bf16;
#define DEVICE __device__ __forceinline__
#define CONSTANT __device__ const
// Numbers that a block shares.
#define SHARED(T, name, count) __shared__ T name[count]
// The same, of the size that the launch gives.
#define DYNAMIC_SHARED(T, name)                                       \
    extern __shared__ __align__(16) unsigned char shared_at_launch[]; \
    T* name = (T*)shared_at_launch
// Says how many bytes that are; the emulator stops where the launch gives another number.
#define NEEDS_SHARED(bytes) (void)0
#define ENTRY(symbol, Kernel, barriers) \
    extern "C" __global__ void __launch_bounds__(256) symbol(const __grid_constant__ Kernel kernel) { kernel.run(); }
#else
#include "emulator.h"
#endif

#define EACH_TYPE(name, barriers)                \
    ENTRY(name##_f32, name<float>, barriers)     \
    ENTRY(name##_f64, name<double>, barriers)    \
    ENTRY(name##_bf16, name<bf16>, barriers)
// A kernel whose threads do not wait for each other, for all stored types: name_f32, name_f64, name_bf16.
#define EXPORT(name) EACH_TYPE(name, false)
// The same for one that uses shared memory, __syncthreads or sums over threads.
#define EXPORT_BLOCK(name) EACH_TYPE(name, true)
// For arithmetic types alone: name_f32, name_f64.
#define EXPORT_ARITH(name) ENTRY(name##_f32, name<float>, false) ENTRY(name##_f64, name<double>, false)
#define EXPORT_ARITH_BLOCK(name) ENTRY(name##_f32, name<float>, true) ENTRY(name##_f64, name<double>, true)
// A kernel of no type.
#define EXPORT_PLAIN(name) ENTRY(name##_plain, name, false)

template <class S> struct Arith { typedef float T; };
template <> struct Arith<double> { typedef double T; };

// Number of threads of a warp.
#define WARP 32

// The first index of this thread, and the distance to its next, among all blocks along x.
DEVICE i64 first_index() { return (i64)blockIdx.x * blockDim.x + threadIdx.x; }
DEVICE i64 index_step() { return (i64)gridDim.x * blockDim.x; }

// A sum over the threads of a warp, in all of them.
template <class A> DEVICE A warp_sum(A x) {
    for (int lane = WARP / 2; lane > 0; lane /= 2) x += __shfl_xor_sync(0xffffffffu, x, lane);
    return x;
}

template <class A> DEVICE A warp_max(A x) {
    for (int lane = WARP / 2; lane > 0; lane /= 2) {
        A other = __shfl_xor_sync(0xffffffffu, x, lane);
        // NaN wins
        x = (other > x || other != other) ? other : x;
    }
    return x;
}

// A sum over the threads of a block, in all of them; always in the same order. All threads must call it.
template <class A> DEVICE A block_sum(A x) {
    SHARED(A, parts, WARP);
    int warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    x = warp_sum(x);
    if (threadIdx.x % WARP == 0) parts[warp] = x;
    __syncthreads();
    A sum = 0;
    for (int i = 0; i < warps; i++) sum += parts[i];
    // the next call writes there again
    __syncthreads();
    return sum;
}

template <class A> DEVICE A block_max(A x) {
    SHARED(A, parts, WARP);
    int warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    x = warp_max(x);
    if (threadIdx.x % WARP == 0) parts[warp] = x;
    __syncthreads();
    A largest = parts[0];
    for (int i = 1; i < warps; i++)
        largest = (parts[i] > largest || parts[i] != parts[i]) ? parts[i] : largest;
    __syncthreads();
    return largest;
}

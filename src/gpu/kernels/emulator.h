// Kernels on the CPU: the words of CUDA that they use, so that their indices, barriers and sums can be tested
// on any machine. Blocks run one after another; the threads of a block that wait for each other are fibers.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

using std::ceil;
using std::cos;
using std::erf;
using std::erfc;
using std::exp;
using std::expm1;
using std::floor;
using std::fma;
using std::fmax;
using std::fmin;
using std::isfinite;
using std::isnan;
using std::log;
using std::log1p;
using std::pow;
using std::sin;
using std::sqrt;
using std::tanh;

struct uint3 {
    unsigned x, y, z;
};
extern thread_local uint3 threadIdx, blockIdx, blockDim, gridDim;

#define DEVICE inline
#define CONSTANT static const
#define __restrict__
#ifdef WIDTHWISE_SANITIZE
// The memory of a kernel's shared numbers that the block has which runs, by an address that is theirs alone.
void* emulated_static(const void* key, size_t bytes);
#define SHARED(T, name, count) \
    static char name##_key;    \
    T* name = (T*)emulated_static(&name##_key, sizeof(T) * (count))
#else
#define SHARED(T, name, count) static thread_local T name[count]
#endif
#define DYNAMIC_SHARED(T, name) T* name = (T*)emulated_shared()
#define NEEDS_SHARED(bytes) emulated_needs(bytes)
#define __align__(n)

// Rounds to nearest, ties to even, as the hardware does.
struct bf16 {
    unsigned short bits;
    bf16() = default;
    bf16(float x) {
        unsigned all;
        memcpy(&all, &x, 4);
        if (x != x) bits = (unsigned short)((all >> 16) | 0x40);
        else bits = (unsigned short)((all + 0x7fff + ((all >> 16) & 1)) >> 16);
    }
    operator float() const {
        unsigned all = (unsigned)bits << 16;
        float x;
        memcpy(&x, &all, 4);
        return x;
    }
};

inline float rsqrt(float x) { return 1 / std::sqrt(x); }
inline double rsqrt(double x) { return 1 / std::sqrt(x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)(((uint64_t)a * b) >> 32); }

// Stops where a place is no multiple of so many bytes, which a GPU would.
void emulated_aligned(const void* at, size_t bytes);
void* emulated_shared();
void emulated_needs(size_t bytes);
void __syncthreads();
void __syncwarp(unsigned mask = 0xffffffffu);
uint64_t emulated_exchange(uint64_t mine, int lane);
unsigned __ballot_sync(unsigned mask, int is);

// What a lane shows the others of its warp; the answer is what all of them show.
struct EmulatedRegisters {
    uint32_t word[6];
};
void emulated_gather(const EmulatedRegisters& mine, EmulatedRegisters (&lanes)[32]);

// The places that all lanes of a warp give.
template <class T> void emulated_rows(const T* mine, const T* (&rows)[32]) {
    EmulatedRegisters shown = {}, lanes[32];
    memcpy(&shown, &mine, sizeof(mine));
    emulated_gather(shown, lanes);
    for (int lane = 0; lane < 32; lane++) memcpy(&rows[lane], &lanes[lane], sizeof(mine));
}

// Copies that are done when their thread waits for them and not before, so that what reads them earlier is seen;
// zeros come from nowhere.
void emulated_copy(void* to, const void* from, size_t bytes);
void emulated_copies();

template <class T> T __shfl_sync(unsigned, T x, int lane) {
    uint64_t mine = 0;
    memcpy(&mine, &x, sizeof(T));
    uint64_t other = emulated_exchange(mine, lane & 31);
    memcpy(&x, &other, sizeof(T));
    return x;
}
template <class T> T __shfl_xor_sync(unsigned mask, T x, int lane) {
    return __shfl_sync(mask, x, (int)(threadIdx.x % 32) ^ lane);
}
template <class T> T __shfl_down_sync(unsigned mask, T x, int by) {
    int lane = (int)(threadIdx.x % 32) + by;
    return __shfl_sync(mask, x, lane < 32 ? lane : (int)(threadIdx.x % 32));
}

struct EmulatedKernel {
    EmulatedKernel(const char* name, void (*run)(const void*), size_t size, bool barriers);
    const char* name;
    void (*run)(const void*);
    size_t size;
    bool barriers;
    EmulatedKernel* next;
};

#define ENTRY(symbol, Kernel, barriers)                                                              \
    static_assert(sizeof(Kernel) % 8 == 0, "fields of kernels have eight bytes");                   \
    static EmulatedKernel emulated_##symbol(                                                         \
        #symbol, [](const void* kernel) { static_cast<const Kernel*>(kernel)->run(); }, sizeof(Kernel), barriers);

// The kernels, compiled for the CPU; emulator_blocks.cpp runs them.
#include "all.cu"
#include "mma_probe.cuh"

thread_local uint3 threadIdx, blockIdx, blockDim, gridDim;

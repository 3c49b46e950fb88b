// What machine code says about its kernels.
#pragma once
#include <map>
#include <string>

struct Kernel {
    // bytes of shared memory that every block has, and of all arguments
    size_t shared, arguments;
};

// The kernels of the machine code in a fat binary that a device of this capability runs; of none of them if there is no such code.
std::map<std::string, Kernel> kernels_of(const void* fatbin, int capability);

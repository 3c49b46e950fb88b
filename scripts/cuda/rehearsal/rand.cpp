// The part of cuRAND that is called: numbers that look random, as work of the generator's stream.
#include "rehearsal.h"

#include <cmath>
#include <cstring>
#include <random>

namespace {

enum Status { SUCCESS = 0, NOT_INITIALIZED = 101, NOT_MULTIPLE = 105, TYPE_ERROR = 103, FAILED = 201 };

struct Generator {
    void* stream = nullptr;
    unsigned long long seed = 0, offset = 0;
};

struct Fill {
    uint64_t to;
    size_t count, bytes;
    unsigned long long seed, offset;
    bool normal;
    double mean, deviation;
};

void run(const void* arguments) {
    Fill fill;
    memcpy(&fill, arguments, sizeof fill);
    if (!rehearsal_range("random numbers", fill.to, fill.count * fill.bytes)) return;
    std::mt19937_64 bits(fill.seed * 0x9e3779b97f4a7c15u + fill.offset);
    std::normal_distribution<double> normal(fill.mean, fill.deviation);
    for (size_t i = 0; i < fill.count; i++) {
        // uniform numbers are above 0 and up to 1
        double x = fill.normal ? normal(bits) : ((double)(bits() >> 40) + 1) / (1 << 24);
        if (fill.bytes == 8) ((double*)fill.to)[i] = x;
        else ((float*)fill.to)[i] = (float)x;
    }
}

int fill(void* generator, void* to, size_t count, size_t bytes, bool normal, double mean, double deviation) {
    auto* g = (Generator*)generator;
    if (!g) return NOT_INITIALIZED;
    if (normal && count % 2) return NOT_MULTIPLE;
    Fill all = {(uint64_t)to, count, bytes, g->seed, g->offset, normal, mean, deviation};
    g->offset += count;
    return rehearsal_queue(g->stream, "random numbers", run, &all, sizeof all) ? FAILED : SUCCESS;
}

}  // namespace

extern "C" {

int curandCreateGenerator(void** generator, int kind) {
    // default, XORWOW
    if (kind != 100 && kind != 101) return TYPE_ERROR;
    *generator = new Generator;
    return SUCCESS;
}

int curandDestroyGenerator(void* generator) {
    delete (Generator*)generator;
    return SUCCESS;
}

int curandSetStream(void* generator, void* stream) {
    if (!generator || !rehearsal_stream(stream)) return NOT_INITIALIZED;
    ((Generator*)generator)->stream = stream;
    return SUCCESS;
}

int curandSetPseudoRandomGeneratorSeed(void* generator, unsigned long long seed) {
    if (!generator) return NOT_INITIALIZED;
    *(Generator*)generator = {((Generator*)generator)->stream, seed, 0};
    return SUCCESS;
}

int curandSetGeneratorOffset(void* generator, unsigned long long offset) {
    if (!generator) return NOT_INITIALIZED;
    ((Generator*)generator)->offset = offset;
    return SUCCESS;
}

int curandGenerateUniform(void* g, float* to, size_t n) { return fill(g, to, n, 4, false, 0, 0); }
int curandGenerateUniformDouble(void* g, double* to, size_t n) { return fill(g, to, n, 8, false, 0, 0); }
int curandGenerateNormal(void* g, float* to, size_t n, float mean, float deviation) {
    return fill(g, to, n, 4, true, mean, deviation);
}
int curandGenerateNormalDouble(void* g, double* to, size_t n, double mean, double deviation) {
    return fill(g, to, n, 8, true, mean, deviation);
}

}  // extern "C"

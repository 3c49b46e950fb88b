// Runs kernels on the CPU, see emulator.h.
// jumps between stacks are meant
#undef _FORTIFY_SOURCE
#include "all.cu"
#include "mma_probe.cuh"

#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <ucontext.h>
#include <vector>

thread_local uint3 threadIdx, blockIdx, blockDim, gridDim;

static EmulatedKernel*& kernels() {
    static EmulatedKernel* first = nullptr;
    return first;
}

EmulatedKernel::EmulatedKernel(const char* name, void (*run)(const void*), size_t size, bool barriers)
    : name(name), run(run), size(size), barriers(barriers), next(kernels()) {
    kernels() = this;
}

namespace {

enum State { RUNS, AT_BLOCK, AT_WARP, DONE };
const size_t STACK = 128 << 10;

struct Copy {
    void* to;
    const void* from;
    size_t bytes;
};

struct Fiber {
    ucontext_t context;
    // Where it goes on once it has begun: a jump is much faster than another context, which asks the system for its
    // signals each time.
    jmp_buf place;
    bool begun;
    std::vector<char> stack;
    State state;
    uint64_t exchanged;
    std::vector<Copy> copies;
};

struct Block {
    std::vector<Fiber> fibers;
    std::vector<char> shared;
    jmp_buf scheduler;
    unsigned current = 0, threads = 0;
    const EmulatedKernel* kernel = nullptr;
    const void* words = nullptr;
    bool inside = false;
};
thread_local Block block;

void wait(State state) {
    if (!block.inside) {
        fprintf(stderr, "emulator: %s waits, but is not exported as a kernel of blocks\n", block.kernel->name);
        abort();
    }
    Fiber& fiber = block.fibers[block.current];
    fiber.state = state;
    if (!_setjmp(fiber.place)) _longjmp(block.scheduler, 1);
}

// A fiber stays for the next block: another context for each would take most of the time.
void fiber_main() {
    for (;;) {
        block.kernel->run(block.words);
        wait(DONE);
    }
}

// Runs a fiber until it waits or is done.
void go_on(Fiber& fiber) {
    if (_setjmp(block.scheduler)) return;
    if (fiber.begun) _longjmp(fiber.place, 1);
    fiber.begun = true;
    setcontext(&fiber.context);
}

bool release(unsigned from, unsigned to, State state) {
    bool any = false;
    for (unsigned i = from; i < to; i++) {
        if (block.fibers[i].state == DONE) continue;
        if (block.fibers[i].state != state) return false;
        any = true;
    }
    for (unsigned i = from; i < to; i++)
        if (block.fibers[i].state == state) block.fibers[i].state = RUNS;
    return any;
}

void run_block() {
    unsigned threads = block.threads;
    if (block.fibers.size() < threads) block.fibers.resize(threads);
    for (unsigned i = 0; i < threads; i++) {
        Fiber& fiber = block.fibers[i];
        if (fiber.stack.empty()) {
            fiber.stack.resize(STACK);
            getcontext(&fiber.context);
            fiber.context.uc_stack.ss_sp = fiber.stack.data();
            fiber.context.uc_stack.ss_size = STACK;
            fiber.context.uc_link = nullptr;
            fiber.begun = false;
            makecontext(&fiber.context, fiber_main, 0);
        }
        fiber.state = RUNS;
        fiber.copies.clear();
    }
    for (;;) {
        bool ran = false, done = true;
        for (unsigned i = 0; i < threads; i++) {
            Fiber& fiber = block.fibers[i];
            done = done && fiber.state == DONE;
            if (fiber.state != RUNS) continue;
            ran = true;
            block.current = i;
            threadIdx = {i, 0, 0};
            go_on(fiber);
        }
        if (done) return;
        for (unsigned i = 0; i < threads; i += 32) {
            unsigned end = i + 32 < threads ? i + 32 : threads;
            ran = release(i, end, AT_WARP) || ran;
        }
        ran = release(0, threads, AT_BLOCK) || ran;
        if (!ran) {
            fprintf(stderr, "emulator: the threads of %s wait for each other at different places\n", block.kernel->name);
            abort();
        }
    }
}

}  // namespace

void* emulated_shared() { return block.shared.data(); }
void emulated_needs(size_t bytes) {
    if (bytes == block.shared.size()) return;
    fprintf(stderr, "emulator: %s needs %zu bytes of shared memory, the launch gives %zu\n", block.kernel->name, bytes,
            block.shared.size());
    abort();
}
void __syncthreads() { wait(AT_BLOCK); }
void __syncwarp(unsigned) { wait(AT_WARP); }

uint64_t emulated_exchange(uint64_t mine, int lane) {
    unsigned me = block.current;
    block.fibers[me].exchanged = mine;
    wait(AT_WARP);
    uint64_t other = block.fibers[me / 32 * 32 + (unsigned)lane].exchanged;
    wait(AT_WARP);
    return other;
}

void emulated_gather(const EmulatedRegisters& mine, EmulatedRegisters (&lanes)[32]) {
    unsigned me = block.current;
    // it stays there until all have read it
    block.fibers[me].exchanged = (uint64_t)&mine;
    wait(AT_WARP);
    for (unsigned lane = 0; lane < 32; lane++)
        lanes[lane] = *(const EmulatedRegisters*)block.fibers[me / 32 * 32 + lane].exchanged;
    wait(AT_WARP);
}

void emulated_copy(void* to, const void* from, size_t bytes) {
    block.fibers[block.current].copies.push_back({to, from, bytes});
}

void emulated_copies() {
    for (const Copy& copy : block.fibers[block.current].copies) {
        if (copy.from) memcpy(copy.to, copy.from, copy.bytes);
        else memset(copy.to, 0, copy.bytes);
    }
    block.fibers[block.current].copies.clear();
}

unsigned __ballot_sync(unsigned, int is) {
    unsigned first = block.current / 32 * 32, all = 0;
    block.fibers[block.current].exchanged = is != 0;
    wait(AT_WARP);
    for (unsigned lane = 0; lane < 32; lane++) all |= (unsigned)block.fibers[first + lane].exchanged << lane;
    wait(AT_WARP);
    return all;
}

// Runs a kernel with its arguments, `count` words of eight bytes. 0 if it ran, 1 if there is none of that name,
// 2 if it takes another number of words, 3 for a launch that no GPU takes.
extern "C" int widthwise_emulate(const char* name, const unsigned* grid, unsigned threads, unsigned shared,
                                 const void* words, unsigned count) {
    const EmulatedKernel* kernel = kernels();
    while (kernel && strcmp(kernel->name, name) != 0) kernel = kernel->next;
    if (!kernel) return 1;
    if (kernel->size != count * 8) return 2;
    if (threads == 0 || threads > 256 || threads % 32 || shared > 227 * 1024) return 3;
    if (!grid[0] || !grid[1] || !grid[2] || grid[0] > 0x7fffffffu || grid[1] > 65535 || grid[2] > 65535) return 3;
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {threads, 1, 1};
    block.kernel = kernel;
    block.words = words;
    block.threads = threads;
    block.shared.resize(shared);
    for (unsigned z = 0; z < grid[2]; z++)
        for (unsigned y = 0; y < grid[1]; y++)
            for (unsigned x = 0; x < grid[0]; x++) {
                blockIdx = {x, y, z};
                // what is there before is nobody's
                memset(block.shared.data(), 0xff, shared);
                block.inside = kernel->barriers;
                if (kernel->barriers) {
                    run_block();
                } else {
                    for (unsigned t = 0; t < threads; t++) {
                        threadIdx = {t, 0, 0};
                        kernel->run(words);
                    }
                }
            }
    block.inside = false;
    return 0;
}

// How many words a kernel takes; -1 if there is none of that name.
extern "C" int widthwise_emulated_words(const char* name) {
    const EmulatedKernel* kernel = kernels();
    while (kernel && strcmp(kernel->name, name) != 0) kernel = kernel->next;
    return kernel ? (int)(kernel->size / 8) : -1;
}

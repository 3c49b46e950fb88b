// Runs kernels on the CPU, see emulator.h.
//
// Built with WIDTHWISE_SANITIZE=thread, each thread of a block is one for ThreadSanitizer, which sees where two use the
// same memory without a barrier between; with `address`, AddressSanitizer sees what lies outside of memory. This file itself
// is compiled without: what it does is no kernel's.

// jumps between stacks are meant
#undef _FORTIFY_SOURCE
#include "emulator.h"

#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <ucontext.h>
#include <utility>
#include <vector>

#include "emulator_threads.h"

static EmulatedKernel*& kernels() {
    static EmulatedKernel* first = nullptr;
    return first;
}

EmulatedKernel::EmulatedKernel(const char* name, void (*run)(const void*), size_t size, bool barriers)
    : name(name), run(run), size(size), barriers(barriers), next(kernels()) {
    kernels() = this;
}

static const EmulatedKernel* kernel_of(const char* name) {
    const EmulatedKernel* kernel = kernels();
    while (kernel && strcmp(kernel->name, name) != 0) kernel = kernel->next;
    return kernel;
}

namespace {

#ifdef WIDTHWISE_SANITIZE
const bool sanitized = true;
#else
const bool sanitized = false;
#endif

enum State { RUNS, AT_BLOCK, AT_WARP, DONE };
const size_t STACK = 128 << 10;
const unsigned WARP_THREADS = 32, MOST_WARPS = 8;

struct Copy {
    void* to;
    const void* from;
    size_t bytes;
};

struct Fiber {
    ucontext_t context;
#ifndef WIDTHWISE_SANITIZE
    // Where it goes on once it has begun: a jump is much faster than another context, which asks the system for its
    // signals each time.
    jmp_buf place;
    bool begun;
#endif
    std::vector<char> stack;
    State state;
    uint64_t exchanged;
    std::vector<Copy> copies;
    Identity identity;
    // how many barriers it has passed, of the block and of its warp
    unsigned block_barriers, warp_barriers;
};

// The threads and the shared memory of a block. Blocks that follow each other have different ones if a sanitizer looks, for
// they may run at the same time on a GPU.
struct Set {
    std::vector<std::unique_ptr<Fiber>> fibers;
    std::vector<char> shared;
    std::vector<std::pair<const void*, std::vector<char>>> statics;
    // A thread may be at the next barrier before another has gone on from this one: they take turns.
    Order block_order[2], warp_order[MOST_WARPS][2], end;
};

struct Launch {
    Set sets[2];
    Set* set = &sets[0];
#ifdef WIDTHWISE_SANITIZE
    ucontext_t scheduler;
#else
    jmp_buf scheduler;
#endif
    Host host;
    Order begin;
    unsigned current = 0, threads = 0;
    const EmulatedKernel* kernel = nullptr;
    const void* words = nullptr;
    bool inside = false;

    Fiber& fiber() { return *set->fibers[current]; }
};
thread_local Launch launch;
// Launches come after each other, whichever thread of the host makes them.
Order launches;

// Nobody's numbers; not by memset, which a sanitizer would take for the host's use of the memory.
void forget(std::vector<char>& memory) {
    for (char& byte : memory) {
        byte = (char)0xff;
        __asm__ volatile("" ::: "memory");
    }
}

void to_scheduler() {
    Fiber& fiber = launch.fiber();
    launch.host.take();
#ifdef WIDTHWISE_SANITIZE
    swapcontext(&fiber.context, &launch.scheduler);
#else
    if (!_setjmp(fiber.place)) _longjmp(launch.scheduler, 1);
#endif
}

void wait(State state, Order* order) {
    if (!launch.inside) {
        fprintf(stderr, "emulator: %s waits, but is not exported as a kernel of blocks\n", launch.kernel->name);
        abort();
    }
    launch.fiber().state = state;
    if (order) order->release();
    to_scheduler();
    if (order) order->acquire();
}

// A fiber stays for the next block: another context for each would take most of the time.
void fiber_main() {
    for (;;) {
        launch.kernel->run(launch.words);
        launch.fiber().state = DONE;
        launch.set->end.release();
        to_scheduler();
    }
}

// Runs a fiber until it waits or is done.
void go_on(Fiber& fiber) {
#ifdef WIDTHWISE_SANITIZE
    fiber.identity.take();
    swapcontext(&launch.scheduler, &fiber.context);
#else
    if (_setjmp(launch.scheduler)) return;
    if (fiber.begun) _longjmp(fiber.place, 1);
    fiber.begun = true;
    setcontext(&fiber.context);
#endif
}

bool release(unsigned from, unsigned to, State state) {
    auto& fibers = launch.set->fibers;
    bool any = false;
    for (unsigned i = from; i < to; i++) {
        if (fibers[i]->state == DONE) continue;
        if (fibers[i]->state != state) return false;
        any = true;
    }
    for (unsigned i = from; i < to; i++)
        if (fibers[i]->state == state) fibers[i]->state = RUNS;
    return any;
}

void prepare_block() {
    Set& set = *launch.set;
    while (set.fibers.size() < launch.threads) {
        set.fibers.push_back(std::make_unique<Fiber>());
        Fiber& fiber = *set.fibers.back();
        fiber.stack.resize(STACK);
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.data();
        fiber.context.uc_stack.ss_size = STACK;
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, fiber_main, 0);
#ifndef WIDTHWISE_SANITIZE
        fiber.begun = false;
#endif
    }
    launch.begin.release();
    for (unsigned i = 0; i < launch.threads; i++) {
        Fiber& fiber = *set.fibers[i];
        fiber.state = RUNS;
        fiber.block_barriers = fiber.warp_barriers = 0;
        fiber.copies.clear();
        fiber.identity.take();
        launch.begin.acquire();
        set.end.acquire();
        launch.host.take();
    }
}

void run_block() {
    prepare_block();
    unsigned threads = launch.threads;
    for (;;) {
        bool ran = false, done = true;
        for (unsigned i = 0; i < threads; i++) {
            Fiber& fiber = *launch.set->fibers[i];
            done = done && fiber.state == DONE;
            if (fiber.state != RUNS) continue;
            ran = true;
            launch.current = i;
            threadIdx = {i, 0, 0};
            go_on(fiber);
        }
        if (done) return;
        for (unsigned i = 0; i < threads; i += WARP_THREADS) {
            unsigned end = i + WARP_THREADS < threads ? i + WARP_THREADS : threads;
            ran = release(i, end, AT_WARP) || ran;
        }
        ran = release(0, threads, AT_BLOCK) || ran;
        if (!ran) {
            fprintf(stderr, "emulator: the threads of %s wait for each other at different places\n", launch.kernel->name);
            abort();
        }
    }
}

// The thread of the same warp in that lane, which must be there still.
const Fiber& other(unsigned lane) {
    const Fiber& fiber = *launch.set->fibers[launch.current / WARP_THREADS * WARP_THREADS + lane];
    if (fiber.state == DONE) {
        fprintf(stderr, "emulator: %s reads from lane %u, which is done\n", launch.kernel->name, lane);
        abort();
    }
    return fiber;
}

}  // namespace

void emulated_aligned(const void* at, size_t bytes) {
    if ((uintptr_t)at % bytes == 0) return;
    fprintf(stderr, "emulator: %s uses %zu bytes at once at a place that is no multiple of them\n", launch.kernel->name,
            bytes);
    abort();
}
void* emulated_shared() { return launch.set->shared.data(); }
void emulated_needs(size_t bytes) {
    if (bytes == launch.set->shared.size()) return;
    fprintf(stderr, "emulator: %s needs %zu bytes of shared memory, the launch gives %zu\n", launch.kernel->name, bytes,
            launch.set->shared.size());
    abort();
}
#ifdef WIDTHWISE_SANITIZE
void* emulated_static(const void* key, size_t bytes) {
    auto& statics = launch.set->statics;
    size_t at = 0;
    while (at < statics.size() && statics[at].first != key) at++;
    if (at == statics.size()) {
        // the host makes it, for the sanitizer
        launch.host.take();
        statics.emplace_back(key, std::vector<char>(bytes, (char)0xff));
        launch.begin.release();
        launch.fiber().identity.take();
    }
    launch.begin.acquire();
    return statics[at].second.data();
}
#endif
void __syncthreads() {
    unsigned passed = launch.fiber().block_barriers++;
    wait(AT_BLOCK, &launch.set->block_order[passed % 2]);
}
// Only this orders what the threads of a warp do with memory; that they exchange numbers does not.
void __syncwarp(unsigned) {
    unsigned passed = launch.fiber().warp_barriers++;
    wait(AT_WARP, &launch.set->warp_order[launch.current / WARP_THREADS][passed % 2]);
}

uint64_t emulated_exchange(uint64_t mine, int lane) {
    launch.fiber().exchanged = mine;
    wait(AT_WARP, nullptr);
    uint64_t theirs = other((unsigned)lane).exchanged;
    wait(AT_WARP, nullptr);
    return theirs;
}

void emulated_gather(const EmulatedRegisters& mine, EmulatedRegisters (&lanes)[32]) {
    // it stays there until all have read it
    launch.fiber().exchanged = (uint64_t)&mine;
    wait(AT_WARP, nullptr);
    for (unsigned lane = 0; lane < WARP_THREADS; lane++) lanes[lane] = *(const EmulatedRegisters*)other(lane).exchanged;
    wait(AT_WARP, nullptr);
}

void emulated_copy(void* to, const void* from, size_t bytes) {
    // it may be written as soon as now
    will_be_written(to, bytes);
    launch.fiber().copies.push_back({to, from, bytes});
}

void emulated_copies() {
    for (const Copy& copy : launch.fiber().copies) {
        if (copy.from) memcpy(copy.to, copy.from, copy.bytes);
        else memset(copy.to, 0, copy.bytes);
    }
    launch.fiber().copies.clear();
}

unsigned __ballot_sync(unsigned, int is) {
    unsigned all = 0;
    launch.fiber().exchanged = is != 0;
    wait(AT_WARP, nullptr);
    for (unsigned lane = 0; lane < WARP_THREADS; lane++) all |= (unsigned)other(lane).exchanged << lane;
    wait(AT_WARP, nullptr);
    return all;
}

// Runs a kernel with its arguments, `count` words of eight bytes. 0 if it ran, 1 if there is none of that name,
// 2 if it takes another number of words, 3 for a launch that no GPU takes.
extern "C" int widthwise_emulate(const char* name, const unsigned* grid, unsigned threads, unsigned shared,
                                 const void* words, unsigned count) {
    const EmulatedKernel* kernel = kernel_of(name);
    if (!kernel) return 1;
    if (kernel->size != count * 8) return 2;
    if (threads == 0 || threads > WARP_THREADS * MOST_WARPS || threads % WARP_THREADS || shared > 227 * 1024) return 3;
    if (!grid[0] || !grid[1] || !grid[2] || grid[0] > 0x7fffffffu || grid[1] > 65535 || grid[2] > 65535) return 3;
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {threads, 1, 1};
    launch.kernel = kernel;
    launch.words = words;
    launch.threads = threads;
    launch.inside = kernel->barriers;
    launches.acquire();
    // no larger than it is, so that what lies behind is seen
    for (Set& set : launch.sets)
        if (set.shared.size() != shared) set.shared = std::vector<char>(shared);
    for (unsigned z = 0; z < grid[2]; z++)
        for (unsigned y = 0; y < grid[1]; y++)
            for (unsigned x = 0; x < grid[0]; x++) {
                blockIdx = {x, y, z};
                // what is there before is nobody's
                forget(launch.set->shared);
                for (auto& one : launch.set->statics) forget(one.second);
                if (sanitized || kernel->barriers) {
                    run_block();
                } else {
                    for (unsigned t = 0; t < threads; t++) {
                        threadIdx = {t, 0, 0};
                        kernel->run(words);
                    }
                }
                if (sanitized) launch.set = launch.set == &launch.sets[0] ? &launch.sets[1] : &launch.sets[0];
            }
    for (Set& set : launch.sets) set.end.acquire();
    launches.release();
    launch.inside = false;
    return 0;
}

// How many words a kernel takes; -1 if there is none of that name.
extern "C" int widthwise_emulated_words(const char* name) {
    const EmulatedKernel* kernel = kernel_of(name);
    return kernel ? (int)(kernel->size / 8) : -1;
}

// What the parts of the rehearsal driver share. README.md of the folder above says what it is for.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

// One lock for everything; work runs under it.
struct __attribute__((visibility("default"))) Lock {
    Lock();
    ~Lock();
};

// Prints a line that begins with "rehearsal: " to stderr.
void say(const char* format, ...) __attribute__((format(printf, 1, 2)));
// The same for a mistake of the program; the device is unusable from then on, as after an illegal address.
void wrong(const char* format, ...) __attribute__((format(printf, 1, 2)));
// The device's error, which all later calls return; 0 if there is none.
extern int fault;
// What is being run, for messages.
extern std::string running;
uint64_t setting(const char* name, uint64_t otherwise);

// -- memory.cpp: the device's memory, which no other memory adjoins

// The address of so many bytes, not numbers, or 0 if there is no room; `pooled` memory stays with the process.
uint64_t allocate(size_t bytes, bool pooled);
// An address whose memory comes and goes with `map` and `unmap`, for graphs.
uint64_t reserve(size_t bytes);
bool is_graphs(uint64_t at);
void map(uint64_t at);
void unmap(uint64_t at);
// Counts memory as given back; it goes when `discard` runs. Whether it was memory that could be given back.
bool give_back(uint64_t at);
void discard(uint64_t at);
// Whether an address is one of the device's, whatever is there.
bool is_device(uint64_t at);
// Says what is wrong with bytes that `what` uses; whether all is well.
bool check_range(const char* what, uint64_t at, size_t bytes);
// The same for what a kernel is given: words that are addresses must be those of memory that is there.
bool check_words(const char* kernel, const uint64_t* words, size_t count);
// Whether anybody wrote between allocations; says so.
void check_gaps(const char* after);
struct Usage {
    uint64_t total, free, reserved, used;
};
Usage usage();

// Pinned memory of the host.
void* pin(size_t bytes);
bool unpin(void* at);
bool is_pinned(const void* at, size_t bytes);

// -- work.cpp: streams, events, graphs

struct Work {
    std::string name;
    std::function<void()> run;
};
struct Stream;
// The stream of a handle; null if there is none.
Stream* stream_of(void* handle);
// Queues work, or keeps it while the stream is captured; a status of the driver.
int queue(Stream* stream, Work work);

// -- for the libraries beside the driver
extern "C" {
int rehearsal_queue(void* stream, const char* name, void (*run)(const void*), const void* arguments, size_t bytes);
bool rehearsal_range(const char* what, uint64_t at, size_t bytes);
bool rehearsal_stream(void* stream);
void rehearsal_say(const char* text);
}

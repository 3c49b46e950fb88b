// Memory of the device: addresses that no other memory has, each allocation between pages that cannot be touched.
// It is filled with bytes that are no numbers, and gone when it is given back; addresses are not used twice.
#include "rehearsal.h"

#include <cstring>
#include <map>
#include <sys/mman.h>

namespace {

const uint64_t FIRST = 0x200000000000, LAST = 0x300000000000;
const size_t PAGE = 4096;
// what the driver itself takes
const uint64_t OWN = 32 << 20;
// a pool grows by so much
const uint64_t CHUNK = 32 << 20;
const unsigned char NOBODYS = 0xab;

enum State { LIVE, GIVEN_BACK, GONE };

struct Part {
    uint64_t at, bytes, pages, mapped;
    bool pooled, graph;
    State state;
};

std::map<uint64_t, Part> parts;
// those with pages
std::map<uint64_t, const Part*> live;
uint64_t next_page = FIRST + PAGE;
uint64_t sync_bytes, pool_used, pool_reserved;

struct Pinned {
    size_t bytes, mapped;
};
std::map<uint64_t, Pinned> pinned;

uint64_t total() { return setting("REHEARSAL_MEMORY", 4096) << 20; }
uint64_t rounded(uint64_t n, uint64_t to) { return (n + to - 1) / to * to; }

// The allocation that an address is in, or the last before it.
Part* near(uint64_t at) {
    auto after = parts.upper_bound(at);
    return after == parts.begin() ? nullptr : &(--after)->second;
}

Part& place(size_t bytes, bool pooled, bool graph) {
    uint64_t mapped = rounded(bytes, PAGE);
    uint64_t pages = next_page;
    next_page += mapped + PAGE;
    // ends where the page does, as far as the alignment that CUDA promises allows
    uint64_t at = pages + (mapped - bytes) / 256 * 256;
    return parts[at] = Part{at, bytes, pages, mapped, pooled, graph, graph ? GONE : LIVE};
}

void make_pages(Part& part) {
    void* got = mmap((void*)part.pages, part.mapped, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    if (got == MAP_FAILED) {
        wrong("the rehearsal itself has no memory left");
        return;
    }
    memset((void*)part.pages, NOBODYS, part.mapped);
    memset((void*)part.at, 0xff, part.bytes);
    part.state = LIVE;
    live[part.at] = &part;
}

bool is_nobodys(uint64_t from, uint64_t to) {
    for (; from < to; from++)
        if (*(const unsigned char*)from != NOBODYS) return false;
    return true;
}

void check_part(const Part& part, const char* after) {
    if (part.state == GONE) return;
    bool before = is_nobodys(part.pages, part.at);
    if (before && is_nobodys(part.at + part.bytes, part.pages + part.mapped)) return;
    wrong("%s wrote %s %llu bytes at %#llx", after, before ? "behind" : "before", (unsigned long long)part.bytes,
          (unsigned long long)part.at);
}

}  // namespace

Usage usage() {
    uint64_t all = total(), taken = OWN + sync_bytes + pool_reserved;
    return {all, taken < all ? all - taken : 0, pool_reserved, pool_used};
}

uint64_t allocate(size_t bytes, bool pooled) {
    uint64_t counted = rounded(bytes, 512);
    if (counted < bytes) return 0;
    if (pooled) {
        uint64_t reserved = pool_reserved;
        if (pool_used + counted > reserved) reserved = rounded(pool_used + counted, CHUNK);
        if (OWN + sync_bytes + reserved > total()) reserved = pool_used + counted;
        if (reserved < pool_reserved) reserved = pool_reserved;
        if (OWN + sync_bytes + reserved > total()) return 0;
        pool_reserved = reserved;
        pool_used += counted;
    } else {
        if (OWN + sync_bytes + pool_reserved + counted > total()) return 0;
        sync_bytes += counted;
    }
    Part& part = place(bytes, pooled, false);
    make_pages(part);
    return part.at;
}

uint64_t reserve(size_t bytes) { return place(bytes, false, true).at; }

bool is_graphs(uint64_t at) {
    auto found = parts.find(at);
    return found != parts.end() && found->second.graph;
}

void map(uint64_t at) { make_pages(parts[at]); }

void unmap(uint64_t at) { discard(at); }

bool give_back(uint64_t at) {
    auto found = parts.find(at);
    if (found == parts.end() || found->second.state != LIVE || found->second.graph) return false;
    Part& part = found->second;
    (part.pooled ? pool_used : sync_bytes) -= rounded(part.bytes, 512);
    part.state = GIVEN_BACK;
    return true;
}

void discard(uint64_t at) {
    Part& part = parts[at];
    if (part.state == GONE) return;
    check_part(part, "somebody");
    part.state = GONE;
    live.erase(at);
    mmap((void*)part.pages, part.mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
}

bool is_device(uint64_t at) { return at >= FIRST && at < LAST; }

bool check_range(const char* what, uint64_t at, size_t bytes) {
    if (bytes == 0) return true;
    const Part* part = near(at);
    if (!is_device(at))
        wrong("%s: %#llx is no address of the device", what, (unsigned long long)at);
    else if (!part || at - part->at >= part->bytes)
        wrong("%s: nothing was allocated at %#llx", what, (unsigned long long)at);
    else if (part->state == GONE)
        wrong("%s: the memory at %#llx was given back", what, (unsigned long long)at);
    else if (part->bytes - (at - part->at) < bytes)
        wrong("%s: %zu bytes at %#llx are more than the %llu that are there", what, bytes, (unsigned long long)at,
              (unsigned long long)(part->bytes - (at - part->at)));
    else
        return true;
    return false;
}

bool check_words(const char* kernel, const uint64_t* words, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint64_t at = words[i];
        if (is_device(at)) {
            const Part* part = near(at);
            // one past the end is where an empty slice may begin
            if (!part || at - part->at > part->bytes) {
                wrong("%s: argument %zu, %#llx: nothing was allocated there", kernel, i, (unsigned long long)at);
                return false;
            }
            if (part->state == GONE) {
                wrong("%s: argument %zu, %#llx: that memory was given back", kernel, i, (unsigned long long)at);
                return false;
            }
            continue;
        }
        // where programs and their libraries have memory
        bool host = (at >= 0x540000000000 && at < 0x800000000000) || is_pinned((void*)at, 1);
        unsigned char resident;
        if (host && mincore((void*)(at / PAGE * PAGE), PAGE, &resident) == 0) {
            wrong("%s: argument %zu, %#llx, is an address of the host", kernel, i, (unsigned long long)at);
            return false;
        }
    }
    return true;
}

void check_gaps(const char* after) {
    for (const auto& [at, part] : live) check_part(*part, after);
}

void* pin(size_t bytes) {
    size_t mapped = rounded(bytes, PAGE);
    char* pages = (char*)mmap(nullptr, mapped + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) return nullptr;
    mprotect(pages + PAGE, mapped, PROT_READ | PROT_WRITE);
    memset(pages + PAGE, 0xff, mapped);
    pinned[(uint64_t)pages + PAGE] = {bytes, mapped};
    return pages + PAGE;
}

bool unpin(void* at) {
    auto found = pinned.find((uint64_t)at);
    if (found == pinned.end()) return false;
    // the address is not used again
    mmap(at, found->second.mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    pinned.erase(found);
    return true;
}

bool is_pinned(const void* at, size_t bytes) {
    auto after = pinned.upper_bound((uint64_t)at);
    if (after == pinned.begin()) return false;
    --after;
    return (uint64_t)at - after->first + bytes <= after->second.bytes;
}

// Fat binaries are a list of parts; machine code for one capability is an ELF file with a few sections for each kernel.
#include "cubin.h"

#include <cstdint>
#include <cstring>
#include <elf.h>

namespace {

template <class T> T at(const char* from, size_t offset) {
    T value;
    memcpy(&value, from + offset, sizeof value);
    return value;
}

std::map<std::string, Kernel> kernels_in(const char* file, int capability) {
    // before the arguments there is what the driver gives each launch; Hopper keeps 1 KiB of shared memory for itself
    const size_t before = capability >= 90 ? 528 : 352, kept = capability >= 90 ? 1024 : 0;
    auto header = at<Elf64_Ehdr>(file, 0);
    auto section = [&](unsigned i) { return at<Elf64_Shdr>(file, header.e_shoff + i * sizeof(Elf64_Shdr)); };
    const char* names = file + section(header.e_shstrndx).sh_offset;
    std::map<std::string, Kernel> kernels;
    const std::string code = ".text.", shared = ".nv.shared.", constants = ".nv.constant0.";
    for (unsigned i = 0; i < header.e_shnum; i++) {
        std::string name = names + section(i).sh_name;
        if (name.compare(0, code.size(), code) == 0) kernels[name.substr(code.size())] = {0, 0};
    }
    for (unsigned i = 0; i < header.e_shnum; i++) {
        std::string name = names + section(i).sh_name;
        size_t bytes = section(i).sh_size;
        auto of = [&](const std::string& prefix) {
            return name.compare(0, prefix.size(), prefix) == 0 ? kernels.find(name.substr(prefix.size())) : kernels.end();
        };
        if (auto found = of(shared); found != kernels.end()) found->second.shared = bytes > kept ? bytes - kept : 0;
        if (auto found = of(constants); found != kernels.end()) found->second.arguments = bytes - before;
    }
    return kernels;
}

}  // namespace

std::map<std::string, Kernel> kernels_of(const void* fatbin, int capability) {
    const char* all = (const char*)fatbin;
    size_t begin = at<uint16_t>(all, 6), end = begin + at<uint64_t>(all, 8);
    const char* best = nullptr;
    int best_capability = 0;
    for (size_t part = begin; part < end;) {
        auto kind = at<uint16_t>(all, part);
        size_t header = at<uint32_t>(all, part + 4), bytes = at<uint64_t>(all, part + 8);
        int made_for = (int)at<uint32_t>(all, part + 28);
        const char* body = all + part + header;
        // machine code runs on its own generation, from its capability up
        bool runs = kind == 2 && memcmp(body, ELFMAG, SELFMAG) == 0 && made_for / 10 == capability / 10 && made_for <= capability;
        if (runs && made_for > best_capability) best = body, best_capability = made_for;
        part += header + bytes;
    }
    return best ? kernels_in(best, best_capability) : std::map<std::string, Kernel>();
}

// The functions of CUDA's driver that widthwise, candle and cudarc call, as strict as their documentation. A call that
// CUDA would refuse is refused; what CUDA would not notice, but would compute wrongly or crash at, is printed.
#include "cubin.h"
#include "work.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <sys/mman.h>

extern "C" int widthwise_emulate(const char* name, const unsigned* grid, unsigned threads, unsigned shared,
                                 const void* words, unsigned count);
extern "C" int widthwise_emulated_words(const char* name);

namespace {

struct Context {
    int device, retained = 0;
};

std::map<int, Context> primary;
thread_local Context* current = nullptr;
bool initialised = false;

int devices() { return (int)setting("REHEARSAL_DEVICES", 1); }
bool is_open(Context* context) { return context && context->retained > 0; }

// A kernel fails or is refused where a setting says NAME:N, at its Nth run.
bool is_due(const char* variable, const std::string& name, std::map<std::string, uint64_t>& seen) {
    const char* text = getenv(variable);
    if (!text || !*text) return false;
    const char* colon = strchr(text, ':');
    std::string wanted(text, colon ? (size_t)(colon - text) : strlen(text));
    return name == wanted && ++seen[name] == (colon ? strtoull(colon + 1, nullptr, 10) : 1);
}

struct Module {
    bool ours;
    // of machine code, and of assembly
    std::map<std::string, Kernel> kernels;
    std::set<std::string> entries;
};

struct Function {
    Module* module;
    std::string name;
    int words;
    // bytes of shared memory that it has, and that a launch may add to them
    int shared, dynamic;
};

const int SHARED = 48 << 10;

int capability() { return (int)setting("REHEARSAL_CAPABILITY", 90); }

// Shared memory of a block, if its kernel asks for it.
int most_shared() {
    switch (capability()) {
        case 80: case 87: return 163 << 10;
        case 86: case 89: case 120: return 99 << 10;
        default: return 227 << 10;
    }
}

// The kernels of assembly, by its lines ".entry NAME(".
std::set<std::string> entries_of(const char* text) {
    std::set<std::string> all;
    for (const char* at = text; (at = strstr(at, ".entry ")); at++) {
        const char* begin = at + 7;
        all.emplace(begin, strcspn(begin, "( \n\t"));
    }
    return all;
}

// A copy to the device of what only makes sense on the host.
void look_for_addresses(const void* from, size_t bytes, uint64_t to) {
    if (bytes % 8 || bytes > 1 << 20 || (uint64_t)from % 8) return;
    for (size_t i = 0; i < bytes / 8; i++) {
        uint64_t word = ((const uint64_t*)from)[i];
        unsigned char resident;
        if (word < 0x540000000000 || word >= 0x800000000000 || mincore((void*)(word & ~4095ull), 4096, &resident)) continue;
        say("note: word %zu of %zu copied to %#llx, %#llx, looks like an address of the host", i, bytes / 8,
            (unsigned long long)to, (unsigned long long)word);
        return;
    }
}

std::string bytes_named(const char* what, size_t bytes) { return what + (" of " + std::to_string(bytes)) + " bytes"; }

}  // namespace

#define CHECKED(condition, status) \
    if (!(condition)) return status
// What needs a context has one, and a device that still works.
#define ENTER                                                    \
    Lock lock;                                                   \
    CHECKED(initialised, CUDA_ERROR_NOT_INITIALIZED);            \
    CHECKED(is_open(current), CUDA_ERROR_INVALID_CONTEXT);       \
    CHECKED(fault == 0, (CUresult)fault)
// The same for what may wait or is not ordered by streams.
#define ENTER_UNSAFE                             \
    ENTER;                                       \
    if (CUresult no = unsafe_call()) return no
#define STREAM(name, handle)              \
    Stream* name = stream_of(handle);     \
    CHECKED(name, CUDA_ERROR_INVALID_HANDLE)

extern "C" {

// -- devices and contexts

CUresult cuInit(unsigned flags) {
    Lock lock;
    CHECKED(flags == 0, CUDA_ERROR_INVALID_VALUE);
    CHECKED(devices() > 0, CUDA_ERROR_NO_DEVICE);
    initialised = true;
    return CUDA_SUCCESS;
}

CUresult cuDriverGetVersion(int* version) {
    *version = (int)setting("REHEARSAL_DRIVER", 13000);
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int* count) {
    CHECKED(initialised, CUDA_ERROR_NOT_INITIALIZED);
    *count = devices();
    return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice* device, int ordinal) {
    CHECKED(initialised, CUDA_ERROR_NOT_INITIALIZED);
    CHECKED(ordinal >= 0 && ordinal < devices(), CUDA_ERROR_INVALID_DEVICE);
    *device = ordinal;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char* name, int size, CUdevice) {
    CHECKED(initialised, CUDA_ERROR_NOT_INITIALIZED);
    snprintf(name, (size_t)size, "rehearsed H100");
    return CUDA_SUCCESS;
}

CUresult cuDeviceTotalMem(size_t* bytes, CUdevice) {
    CHECKED(initialised, CUDA_ERROR_NOT_INITIALIZED);
    *bytes = usage().total;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice device) {
    CHECKED(initialised, CUDA_ERROR_NOT_INITIALIZED);
    CHECKED(device >= 0 && device < devices(), CUDA_ERROR_INVALID_DEVICE);
    static const std::map<int, int> values = {
        {CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, 1024},
        {CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X, 1024},
        {CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y, 1024},
        {CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z, 64},
        {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X, 0x7fffffff},
        {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y, 65535},
        {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z, 65535},
        {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK, SHARED},
        {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, most_shared()},
        {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, most_shared() + 1024},
        {CU_DEVICE_ATTRIBUTE_WARP_SIZE, 32},
        {CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK, 65536},
        {CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 132},
        {CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR, 2048},
        {CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, 50 << 20},
        {CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING, 1},
        {CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, 1},
    };
    if (attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) return *value = capability() / 10, CUDA_SUCCESS;
    if (attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR) return *value = capability() % 10, CUDA_SUCCESS;
    auto found = values.find(attribute);
    if (found == values.end()) {
        say("cuDeviceGetAttribute: nobody has said what attribute %d is", (int)attribute);
        return CUDA_ERROR_NOT_SUPPORTED;
    }
    *value = found->second;
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
    Lock lock;
    CHECKED(initialised, CUDA_ERROR_NOT_INITIALIZED);
    CHECKED(device >= 0 && device < devices(), CUDA_ERROR_INVALID_DEVICE);
    CHECKED(fault == 0, (CUresult)fault);
    Context& found = primary[device];
    found.device = device;
    found.retained++;
    *context = (CUcontext)&found;
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRelease(CUdevice device) {
    Lock lock;
    Context& found = primary[device];
    CHECKED(found.retained > 0, CUDA_ERROR_INVALID_CONTEXT);
    found.retained--;
    return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext context) {
    Lock lock;
    CHECKED(initialised, CUDA_ERROR_NOT_INITIALIZED);
    CHECKED(!context || is_open((Context*)context), CUDA_ERROR_INVALID_CONTEXT);
    current = (Context*)context;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetCurrent(CUcontext* context) {
    CHECKED(initialised, CUDA_ERROR_NOT_INITIALIZED);
    *context = (CUcontext)current;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice* device) {
    ENTER;
    *device = current->device;
    return CUDA_SUCCESS;
}

CUresult cuCtxSynchronize(void) {
    ENTER;
    if (is_any_captured()) {
        unsafe_call();
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    finish_all();
    return (CUresult)fault;
}

// -- modules and kernels

CUresult cuModuleLoadData(CUmodule* module, const void* image) {
    ENTER_UNSAFE;
    CHECKED(image && module, CUDA_ERROR_INVALID_VALUE);
    uint32_t magic;
    memcpy(&magic, image, 4);
    if (magic == 0xba55ed50) {
        CHECKED(setting("REHEARSAL_DRIVER", 13000) >= 13000, CUDA_ERROR_UNSUPPORTED_PTX_VERSION);
        auto kernels = kernels_of(image, capability());
        if (kernels.empty()) say("note: there is no machine code for %d; its assembly is not looked at", capability());
        *module = (CUmodule) new Module{true, std::move(kernels), {}};
        return CUDA_SUCCESS;
    }
    auto entries = entries_of((const char*)image);
    CHECKED(!entries.empty(), CUDA_ERROR_INVALID_IMAGE);
    *module = (CUmodule) new Module{false, {}, std::move(entries)};
    return CUDA_SUCCESS;
}

CUresult cuModuleUnload(CUmodule module) {
    ENTER_UNSAFE;
    delete (Module*)module;
    return CUDA_SUCCESS;
}

CUresult cuModuleGetFunction(CUfunction* function, CUmodule handle, const char* name) {
    ENTER;
    auto* module = (Module*)handle;
    int words = module->ours ? widthwise_emulated_words(name) : 0;
    bool known = module->ours ? words >= 0 : module->entries.count(name) > 0;
    CHECKED(known, CUDA_ERROR_NOT_FOUND);
    int shared = 0;
    if (module->ours && !module->kernels.empty()) {
        auto found = module->kernels.find(name);
        CHECKED(found != module->kernels.end(), CUDA_ERROR_NOT_FOUND);
        shared = (int)found->second.shared;
        if (found->second.arguments != (size_t)words * 8)
            wrong("%s takes %zu bytes on the device, %d words in the emulator", name, found->second.arguments, words);
    }
    // kernels are loaded when they are first asked for
    if (is_any_captured()) say("note: %s is loaded while work is captured", name);
    *function = (CUfunction) new Function{module, name, words, shared, SHARED - shared};
    return CUDA_SUCCESS;
}

CUresult cuFuncSetAttribute(CUfunction handle, CUfunction_attribute attribute, int value) {
    ENTER;
    auto* function = (Function*)handle;
    if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) return CUDA_ERROR_NOT_SUPPORTED;
    CHECKED(value >= 0 && function->shared + value <= most_shared(), CUDA_ERROR_INVALID_VALUE);
    function->dynamic = value;
    return CUDA_SUCCESS;
}

CUresult cuLaunchKernel(CUfunction handle, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                        unsigned shared, CUstream stream_handle, void** arguments, void** extra) {
    ENTER;
    STREAM(stream, stream_handle);
    auto* function = (Function*)handle;
    CHECKED(function, CUDA_ERROR_INVALID_HANDLE);
    CHECKED(gx && gy && gz && bx && by && bz, CUDA_ERROR_INVALID_VALUE);
    CHECKED(gx <= 0x7fffffff && gy <= 65535 && gz <= 65535, CUDA_ERROR_INVALID_VALUE);
    CHECKED((uint64_t)bx * by * bz <= 1024 && bz <= 64, CUDA_ERROR_INVALID_VALUE);
    CHECKED((int)shared <= std::max(function->dynamic, SHARED - function->shared), CUDA_ERROR_INVALID_VALUE);
    CHECKED(arguments && !extra, CUDA_ERROR_INVALID_VALUE);
    static std::map<std::string, uint64_t> refused;
    if (is_due("REHEARSAL_REFUSE", function->name, refused)) return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
    if (!function->module->ours) {
        say("candle's kernel %s was launched", function->name.c_str());
        return CUDA_ERROR_NOT_SUPPORTED;
    }
    // __launch_bounds__
    CHECKED(bx * by * bz <= 256, CUDA_ERROR_INVALID_VALUE);
    if (by != 1 || bz != 1) return say("%s: blocks have one dimension", function->name.c_str()), CUDA_ERROR_NOT_SUPPORTED;
    // arguments are copied at the call
    std::vector<uint64_t> words((size_t)function->words);
    memcpy(words.data(), arguments[0], words.size() * 8);
    std::string name = function->name;
    return (CUresult)queue(stream, {name, [=] {
        // runs count, which are more than calls where a graph is launched
        static std::map<std::string, uint64_t> failed;
        if (is_due("REHEARSAL_FAIL", name, failed)) {
            fault = CUDA_ERROR_LAUNCH_FAILED;
            return;
        }
        if (!check_words(name.c_str(), words.data(), words.size())) return;
        unsigned grid[3] = {gx, gy, gz};
        int code = widthwise_emulate(name.c_str(), grid, bx, shared, words.data(), (unsigned)words.size());
        if (code != 0) wrong("the emulator does not take %s (%d)", name.c_str(), code);
    }});
}

// -- memory

CUresult cuMemGetInfo(size_t* free, size_t* total) {
    ENTER;
    Usage now = usage();
    *free = now.free;
    *total = now.total;
    return CUDA_SUCCESS;
}

CUresult cuMemAlloc(CUdeviceptr* at, size_t bytes) {
    ENTER_UNSAFE;
    CHECKED(bytes > 0, CUDA_ERROR_INVALID_VALUE);
    *at = allocate(bytes, false);
    return *at ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuMemFree(CUdeviceptr at) {
    ENTER_UNSAFE;
    if (at == 0) return CUDA_SUCCESS;
    if (is_graphs(at)) return CUDA_ERROR_INVALID_VALUE;
    CHECKED(give_back(at), CUDA_ERROR_INVALID_VALUE);
    // at once, whatever is queued: CUDA does not promise to wait
    discard(at);
    return CUDA_SUCCESS;
}

CUresult cuMemAllocAsync(CUdeviceptr* at, size_t bytes, CUstream handle) {
    ENTER;
    STREAM(stream, handle);
    if (bytes == 0) {
        say("note: cuMemAllocAsync of 0 bytes");
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (auto capture = stream->capture) {
        CHECKED(!capture->broken, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
        say("note: %zu bytes are allocated while work is captured", bytes);
        uint64_t place = *at = reserve(bytes);
        capture->graph->allocated.push_back(place);
        return (CUresult)queue(stream, {bytes_named("allocation", bytes), [place] { map(place); }});
    }
    *at = allocate(bytes, true);
    return *at ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuMemFreeAsync(CUdeviceptr at, CUstream handle) {
    ENTER;
    STREAM(stream, handle);
    CHECKED(at, CUDA_ERROR_INVALID_VALUE);
    if (auto capture = stream->capture) {
        CHECKED(!capture->broken, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
        // only what the graph itself allocated becomes a node that frees
        auto& graph = *capture->graph;
        auto mine = std::find(graph.allocated.begin(), graph.allocated.end(), at);
        CHECKED(mine != graph.allocated.end(), CUDA_ERROR_INVALID_VALUE);
        graph.freed.push_back(at);
        return (CUresult)queue(stream, {"giving memory back", [at] { unmap(at); }});
    }
    if (!is_graphs(at)) CHECKED(give_back(at), CUDA_ERROR_INVALID_VALUE);
    return (CUresult)queue(stream, {"giving memory back", [at] { discard(at); }});
}

CUresult cuMemHostAlloc(void** at, size_t bytes, unsigned) {
    ENTER_UNSAFE;
    CHECKED(bytes > 0, CUDA_ERROR_INVALID_VALUE);
    *at = pin(bytes);
    return *at ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuMemFreeHost(void* at) {
    ENTER_UNSAFE;
    return unpin(at) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void* from, size_t bytes, CUstream handle) {
    ENTER;
    STREAM(stream, handle);
    if (bytes == 0) return CUDA_SUCCESS;
    auto name = bytes_named("a copy to the device", bytes);
    look_for_addresses(from, bytes, to);
    if (is_pinned(from, bytes)) {
        return (CUresult)queue(stream, {name, [=] {
            if (!is_pinned(from, bytes)) return wrong("%s: the pinned memory at %p was given back", name.c_str(), from);
            if (check_range(name.c_str(), to, bytes)) memcpy((void*)to, from, bytes);
        }});
    }
    if (CUresult no = forbidden_on(stream)) return no;
    // memory that is not pinned is read at the call
    std::string copy((const char*)from, bytes);
    return (CUresult)queue(stream, {name, [=] {
        if (check_range(name.c_str(), to, bytes)) memcpy((void*)to, copy.data(), bytes);
    }});
}

CUresult cuMemcpyDtoHAsync(void* to, CUdeviceptr from, size_t bytes, CUstream handle) {
    ENTER;
    STREAM(stream, handle);
    if (bytes == 0) return CUDA_SUCCESS;
    auto name = bytes_named("a copy to the host", bytes);
    bool pinned = is_pinned(to, bytes);
    if (!pinned) {
        if (CUresult no = forbidden_on(stream)) return no;
    }
    int queued = queue(stream, {name, [=] {
        if (check_range(name.c_str(), from, bytes)) memcpy(to, (void*)from, bytes);
    }});
    // to memory that is not pinned it is over when the call returns
    if (!queued && !pinned) finish(stream);
    return (CUresult)(queued ? queued : fault);
}

CUresult cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream handle) {
    ENTER;
    STREAM(stream, handle);
    if (bytes == 0) return CUDA_SUCCESS;
    auto name = bytes_named("a copy on the device", bytes);
    return (CUresult)queue(stream, {name, [=] {
        if (to < from + bytes && from < to + bytes && to != from) say("note: %s overlaps itself", name.c_str());
        if (check_range(name.c_str(), from, bytes) && check_range(name.c_str(), to, bytes))
            memmove((void*)to, (void*)from, bytes);
    }});
}

CUresult cuMemsetD8Async(CUdeviceptr at, unsigned char value, size_t bytes, CUstream handle) {
    ENTER;
    STREAM(stream, handle);
    if (bytes == 0) return CUDA_SUCCESS;
    auto name = bytes_named("setting memory", bytes);
    return (CUresult)queue(stream, {name, [=] {
        if (check_range(name.c_str(), at, bytes)) memset((void*)at, value, bytes);
    }});
}

// Copies without a stream wait for no stream that was made not to wait for them.
CUresult cuMemcpyHtoD(CUdeviceptr to, const void* from, size_t bytes) {
    ENTER_UNSAFE;
    if (check_range("a copy to the device", to, bytes)) memcpy((void*)to, from, bytes);
    return (CUresult)fault;
}

CUresult cuMemcpyDtoH(void* to, CUdeviceptr from, size_t bytes) {
    ENTER_UNSAFE;
    if (check_range("a copy to the host", from, bytes)) memcpy(to, (void*)from, bytes);
    return (CUresult)fault;
}

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool* pool, CUdevice device) {
    CHECKED(initialised, CUDA_ERROR_NOT_INITIALIZED);
    CHECKED(device >= 0 && device < devices(), CUDA_ERROR_INVALID_DEVICE);
    *pool = (CUmemoryPool)0x100;
    return CUDA_SUCCESS;
}

CUresult cuMemPoolSetAttribute(CUmemoryPool pool, CUmemPool_attribute attribute, void*) {
    Lock lock;
    CHECKED(pool == (CUmemoryPool)0x100, CUDA_ERROR_INVALID_VALUE);
    CHECKED(attribute == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, CUDA_ERROR_NOT_SUPPORTED);
    return CUDA_SUCCESS;
}

CUresult cuMemPoolGetAttribute(CUmemoryPool pool, CUmemPool_attribute attribute, void* value) {
    Lock lock;
    CHECKED(pool == (CUmemoryPool)0x100, CUDA_ERROR_INVALID_VALUE);
    if (attribute == CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT) *(uint64_t*)value = usage().reserved;
    else if (attribute == CU_MEMPOOL_ATTR_USED_MEM_CURRENT) *(uint64_t*)value = usage().used;
    else return CUDA_ERROR_NOT_SUPPORTED;
    return CUDA_SUCCESS;
}

// -- streams and events

CUresult cuStreamCreate(CUstream* stream, unsigned flags) {
    ENTER;
    CHECKED(flags <= CU_STREAM_NON_BLOCKING, CUDA_ERROR_INVALID_VALUE);
    // the stream that is always there has number 0
    stream_of(nullptr);
    *stream = (CUstream)new_stream(flags == CU_STREAM_DEFAULT);
    return CUDA_SUCCESS;
}

CUresult cuStreamDestroy(CUstream handle) {
    ENTER;
    STREAM(stream, handle);
    delete_stream(stream);
    return CUDA_SUCCESS;
}

CUresult cuStreamSynchronize(CUstream handle) {
    ENTER;
    STREAM(stream, handle);
    if (CUresult no = forbidden_on(stream)) return no;
    if (CUresult no = unsafe_call()) return no;
    finish(stream);
    return (CUresult)fault;
}

CUresult cuStreamWaitEvent(CUstream handle, CUevent event, unsigned) {
    ENTER;
    STREAM(stream, handle);
    CHECKED(event, CUDA_ERROR_INVALID_HANDLE);
    return wait_for(stream, (Event*)event);
}

CUresult cuEventCreate(CUevent* event, unsigned) {
    ENTER;
    *event = (CUevent) new Event;
    return CUDA_SUCCESS;
}

CUresult cuEventDestroy(CUevent event) {
    ENTER;
    delete (Event*)event;
    return CUDA_SUCCESS;
}

CUresult cuEventRecord(CUevent event, CUstream handle) {
    ENTER;
    STREAM(stream, handle);
    CHECKED(event, CUDA_ERROR_INVALID_HANDLE);
    return record((Event*)event, stream);
}

CUresult cuEventSynchronize(CUevent handle) {
    ENTER;
    auto* event = (Event*)handle;
    CHECKED(event, CUDA_ERROR_INVALID_HANDLE);
    if (event->captured) return event->captured->broken = true, CUDA_ERROR_CAPTURED_EVENT;
    if (CUresult no = unsafe_call()) return no;
    // one that was never recorded is over
    if (event->point) reach(event->point);
    return (CUresult)fault;
}

CUresult cuEventQuery(CUevent handle) {
    ENTER;
    auto* event = (Event*)handle;
    CHECKED(event, CUDA_ERROR_INVALID_HANDLE);
    if (event->captured) return event->captured->broken = true, CUDA_ERROR_CAPTURED_EVENT;
    if (CUresult no = unsafe_call()) return no;
    if (!event->point || event->point->passed) return CUDA_SUCCESS;
    // the first answer is no; who asks again waits
    static std::set<Point*> asked;
    if (asked.insert(event->point.get()).second) return CUDA_ERROR_NOT_READY;
    asked.erase(event->point.get());
    reach(event->point);
    return (CUresult)fault;
}

// -- graphs

CUresult cuStreamBeginCapture(CUstream handle, CUstreamCaptureMode mode) {
    ENTER;
    STREAM(stream, handle);
    return begin_capture(stream, mode);
}

CUresult cuStreamIsCapturing(CUstream handle, CUstreamCaptureStatus* status) {
    ENTER;
    STREAM(stream, handle);
    *status = !stream->capture          ? CU_STREAM_CAPTURE_STATUS_NONE
              : stream->capture->broken ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                                        : CU_STREAM_CAPTURE_STATUS_ACTIVE;
    return CUDA_SUCCESS;
}

CUresult cuStreamEndCapture(CUstream handle, CUgraph* graph) {
    ENTER;
    STREAM(stream, handle);
    *graph = nullptr;
    std::shared_ptr<Graph> kept;
    if (CUresult no = end_capture(stream, kept)) return no;
    *graph = (CUgraph) new Graph(*kept);
    return CUDA_SUCCESS;
}

CUresult cuGraphInstantiateWithFlags(CUgraphExec* exec, CUgraph graph, unsigned long long flags) {
    ENTER;
    CHECKED(graph, CUDA_ERROR_INVALID_VALUE);
    const unsigned long long known = CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH | CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY;
    CHECKED((flags & ~known) == 0, CUDA_ERROR_INVALID_VALUE);
    bool frees = flags & CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
    auto made = std::make_shared<Executable>(Executable{*(Graph*)graph, frees, {}});
    *exec = (CUgraphExec) new std::shared_ptr<Executable>(made);
    return CUDA_SUCCESS;
}

CUresult cuGraphUpload(CUgraphExec exec, CUstream handle) {
    ENTER;
    STREAM(stream, handle);
    CHECKED(exec, CUDA_ERROR_INVALID_VALUE);
    return forbidden_on(stream);
}

CUresult cuGraphLaunch(CUgraphExec exec, CUstream handle) {
    ENTER;
    STREAM(stream, handle);
    CHECKED(exec, CUDA_ERROR_INVALID_VALUE);
    return launch_graph(*(std::shared_ptr<Executable>*)exec, stream);
}

CUresult cuGraphExecDestroy(CUgraphExec exec) {
    Lock lock;
    // one that still runs is destroyed afterwards: what is queued holds it too
    delete (std::shared_ptr<Executable>*)exec;
    return CUDA_SUCCESS;
}

CUresult cuGraphDestroy(CUgraph graph) {
    Lock lock;
    delete (Graph*)graph;
    return CUDA_SUCCESS;
}

// -- errors

CUresult cuGetErrorName(CUresult error, const char** name) {
    static const std::map<int, const char*> names = {
#define NAMED(error) {error, #error}
        NAMED(CUDA_SUCCESS), NAMED(CUDA_ERROR_INVALID_VALUE), NAMED(CUDA_ERROR_OUT_OF_MEMORY),
        NAMED(CUDA_ERROR_NOT_INITIALIZED), NAMED(CUDA_ERROR_NO_DEVICE), NAMED(CUDA_ERROR_INVALID_DEVICE),
        NAMED(CUDA_ERROR_INVALID_IMAGE), NAMED(CUDA_ERROR_INVALID_CONTEXT), NAMED(CUDA_ERROR_UNSUPPORTED_PTX_VERSION),
        NAMED(CUDA_ERROR_INVALID_HANDLE), NAMED(CUDA_ERROR_ILLEGAL_STATE), NAMED(CUDA_ERROR_NOT_FOUND),
        NAMED(CUDA_ERROR_NOT_READY), NAMED(CUDA_ERROR_ILLEGAL_ADDRESS), NAMED(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES),
        NAMED(CUDA_ERROR_LAUNCH_FAILED), NAMED(CUDA_ERROR_NOT_SUPPORTED), NAMED(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED),
        NAMED(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED), NAMED(CUDA_ERROR_STREAM_CAPTURE_MERGE),
        NAMED(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED), NAMED(CUDA_ERROR_STREAM_CAPTURE_UNJOINED),
        NAMED(CUDA_ERROR_STREAM_CAPTURE_ISOLATION), NAMED(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT),
        NAMED(CUDA_ERROR_CAPTURED_EVENT), NAMED(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD),
    };
    auto found = names.find(error);
    *name = found == names.end() ? nullptr : found->second;
    return *name ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGetErrorString(CUresult error, const char** text) { return cuGetErrorName(error, text); }

}  // extern "C"

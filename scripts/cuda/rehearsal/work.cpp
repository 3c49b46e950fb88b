// When work runs. REHEARSAL_ORDER says which of the orders that CUDA allows:
//   late   (the default) only when somebody waits for it, and of other streams only what it waits for
//   now    when it is queued
//   mixed  late on the first stream, now on all others: copies overtake the work that is queued before them
#include "work.h"

#include <algorithm>
#include <chrono>
#include <csetjmp>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <unistd.h>

static std::recursive_mutex& mutex() {
    // never destroyed: threads may still call when the process ends
    static auto* one = new std::recursive_mutex;
    return *one;
}
Lock::Lock() { mutex().lock(); }
Lock::~Lock() { mutex().unlock(); }

int fault = 0;
std::string running = "nothing";

void say(const char* format, ...) {
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    fprintf(stderr, "rehearsal: %s\n", line);
}

void wrong(const char* format, ...) {
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    fprintf(stderr, "rehearsal: WRONG: %s\n", line);
    if (!fault) fault = CUDA_ERROR_ILLEGAL_ADDRESS;
}

uint64_t setting(const char* name, uint64_t otherwise) {
    const char* text = getenv(name);
    return text && *text ? strtoull(text, nullptr, 10) : otherwise;
}

namespace {

enum Order { LATE, NOW, MIXED };

Order order() {
    static Order chosen = [] {
        const char* text = getenv("REHEARSAL_ORDER");
        if (!text || !*text || !strcmp(text, "late")) return LATE;
        if (!strcmp(text, "now")) return NOW;
        if (!strcmp(text, "mixed")) return MIXED;
        say("REHEARSAL_ORDER is late, now or mixed, not %s", text);
        exit(2);
    }();
    return chosen;
}

std::vector<Stream*> streams;
std::vector<std::weak_ptr<Capture>> captures;

// Where a touch of memory that is not there goes on.
sigjmp_buf escape;
thread_local bool inside = false;

void on_signal(int signal, siginfo_t* info, void*) {
    if (!inside) {
        // not ours: as it would be without us
        ::signal(signal, SIG_DFL);
        return;
    }
    char line[256];
    int n = snprintf(line, sizeof line, "rehearsal: WRONG: %s touched %p, where there is no memory\n", running.c_str(),
                     info->si_addr);
    if (write(2, line, (size_t)n) < 0) _exit(1);
    siglongjmp(escape, 1);
}

void catch_signals() {
    static bool done = [] {
        struct sigaction action = {};
        action.sa_sigaction = on_signal;
        action.sa_flags = SA_SIGINFO | SA_NODEFER;
        sigaction(SIGSEGV, &action, nullptr);
        sigaction(SIGBUS, &action, nullptr);
        return true;
    }();
    (void)done;
}

bool is_trace() {
    static bool on = setting("REHEARSAL_TRACE", 0);
    return on;
}

// Seconds of each kind of work, printed at the end.
struct Times {
    std::map<std::string, std::pair<double, long>> all;
    ~Times() {
        std::vector<std::pair<double, std::string>> sorted;
        for (auto& [name, found] : all) sorted.push_back({found.first, name});
        std::sort(sorted.rbegin(), sorted.rend());
        for (auto& [seconds, name] : sorted)
            fprintf(stderr, "%8.3f s  %6ld times  %s\n", seconds, all[name].second, name.c_str());
    }
};

struct Timed {
    std::string name;
    std::chrono::steady_clock::time_point begin = std::chrono::steady_clock::now();
    ~Timed() {
        static bool on = setting("REHEARSAL_TIMES", 0);
        if (!on) return;
        static Times times;
        auto& found = times.all[name];
        found.first += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        found.second++;
    }
};

void run(const Work& work) {
    if (fault || !work.run) return;
    Timed timed{work.name};
    catch_signals();
    running = work.name;
    if (is_trace()) say("runs %s", work.name.c_str());
    inside = true;
    if (sigsetjmp(escape, 1) == 0)
        work.run();
    else if (!fault)
        fault = CUDA_ERROR_ILLEGAL_ADDRESS;
    inside = false;
    static bool each = setting("REHEARSAL_CHECK_EACH", 0);
    if (each) check_gaps(work.name.c_str());
}

void eager();

// Runs the first step of a stream. A step that waits has other streams run first.
void run_first(Stream* stream) {
    auto after = stream->steps.front().after;
    if (after && !after->passed) reach(after);
    Step step = std::move(stream->steps.front());
    stream->steps.pop_front();
    run(step.work);
    if (step.passes) step.passes->passed = true;
}

bool is_eager(const Stream* stream) { return order() == NOW || (order() == MIXED && stream->number > 1); }

// Runs what eager streams can without waiting.
void eager() {
    if (order() == LATE) return;
    for (bool any = true; any;) {
        any = false;
        for (size_t i = 0; i < streams.size(); i++) {
            Stream* stream = streams[i];
            if (!is_eager(stream) || stream->steps.empty()) continue;
            auto after = stream->steps.front().after;
            if (after && !after->passed) continue;
            run_first(stream);
            any = true;
        }
    }
}

}  // namespace

Stream* new_stream(bool is_blocking) {
    static unsigned numbers = 0;
    auto* stream = new Stream{numbers++, is_blocking, {}, nullptr};
    streams.push_back(stream);
    return stream;
}

void delete_stream(Stream* stream) {
    // what is queued still runs, as the driver says
    finish(stream);
    streams.erase(std::find(streams.begin(), streams.end(), stream));
    delete stream;
}

Stream* stream_of(void* handle) {
    // the one that is there without being made: 0, and by its other name 1
    static Stream* legacy = new_stream(true);
    static Stream* own = nullptr;
    if ((uintptr_t)handle <= 1) return legacy;
    if ((uintptr_t)handle == 2) return own = own ? own : new_stream(true);
    auto found = std::find(streams.begin(), streams.end(), (Stream*)handle);
    return found == streams.end() ? nullptr : *found;
}

void push(Stream* stream, Step step) {
    stream->steps.push_back(std::move(step));
    eager();
}

void reach(const std::shared_ptr<Point>& point) {
    while (!point->passed && !point->stream->steps.empty()) {
        run_first(point->stream);
        eager();
    }
    point->passed = true;
}

void finish(Stream* stream) {
    while (!stream->steps.empty()) {
        run_first(stream);
        eager();
    }
    if (!fault) check_gaps("work before a wait");
}

void finish_all() {
    // the youngest first
    for (size_t i = streams.size(); i-- > 0;) finish(streams[i]);
}

int queue(Stream* stream, Work work) {
    if (fault) return fault;
    if (auto capture = stream->capture) {
        if (capture->broken) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
        capture->graph->nodes.push_back(std::move(work));
        return CUDA_SUCCESS;
    }
    push(stream, {std::move(work), nullptr, nullptr});
    return fault;
}

CUresult unsafe_call() {
    CUresult result = CUDA_SUCCESS;
    for (auto& weak : captures) {
        auto capture = weak.lock();
        if (!capture || capture->mode == CU_STREAM_CAPTURE_MODE_RELAXED) continue;
        bool here = capture->thread == std::this_thread::get_id();
        if (!here && capture->mode != CU_STREAM_CAPTURE_MODE_GLOBAL) continue;
        capture->broken = true;
        result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    return result;
}

bool is_any_captured() {
    return std::any_of(captures.begin(), captures.end(), [](auto& weak) { return !weak.expired(); });
}

CUresult forbidden_on(Stream* stream) {
    if (!stream->capture) return CUDA_SUCCESS;
    stream->capture->broken = true;
    return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
}

CUresult begin_capture(Stream* stream, CUstreamCaptureMode mode) {
    if (stream->capture) return CUDA_ERROR_ILLEGAL_STATE;
    if (stream == stream_of(nullptr)) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    auto capture = std::make_shared<Capture>();
    capture->origin = stream;
    capture->thread = std::this_thread::get_id();
    capture->mode = mode;
    stream->capture = capture;
    captures.push_back(capture);
    return CUDA_SUCCESS;
}

CUresult end_capture(Stream* stream, std::shared_ptr<Graph>& graph) {
    auto capture = stream->capture;
    if (!capture) return CUDA_ERROR_ILLEGAL_STATE;
    if (capture->origin != stream) return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
    if (capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED && capture->thread != std::this_thread::get_id())
        return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
    for (Stream* joined : streams)
        if (joined->capture == capture) joined->capture = nullptr;
    captures.erase(std::remove_if(captures.begin(), captures.end(),
                                  [&](auto& weak) { return weak.expired() || weak.lock() == capture; }),
                   captures.end());
    if (capture->broken) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (!capture->forks.empty()) return CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
    graph = capture->graph;
    return CUDA_SUCCESS;
}

CUresult record(Event* event, Stream* stream) {
    if (fault) return (CUresult)fault;
    if (auto capture = stream->capture) {
        if (capture->broken) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
        event->captured = capture;
        event->captured_on = stream;
        return CUDA_SUCCESS;
    }
    event->captured = nullptr;
    event->point = std::make_shared<Point>(Point{stream});
    push(stream, {{"an event", nullptr}, nullptr, event->point});
    return (CUresult)fault;
}

CUresult wait_for(Stream* stream, Event* event) {
    if (fault) return (CUresult)fault;
    auto mine = stream->capture, theirs = event->captured;
    if (mine && mine->broken) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (theirs) {
        if (mine && mine != theirs) {
            mine->broken = theirs->broken = true;
            return CUDA_ERROR_STREAM_CAPTURE_MERGE;
        }
        if (!mine) {
            stream->capture = theirs;
            theirs->forks.push_back(stream);
        } else if (event->captured_on != stream) {
            // what that stream has kept so far is before what comes here
            auto& forks = mine->forks;
            forks.erase(std::remove(forks.begin(), forks.end(), event->captured_on), forks.end());
        }
        return CUDA_SUCCESS;
    }
    if (mine) {
        // an event of work that is not kept
        mine->broken = true;
        return CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
    }
    // an event that was never recorded is no reason to wait
    if (event->point) push(stream, {{"a wait", nullptr}, event->point, nullptr});
    return (CUresult)fault;
}

CUresult launch_graph(const std::shared_ptr<Executable>& exec, Stream* stream) {
    if (fault) return (CUresult)fault;
    if (stream->capture) {
        // a graph within a graph
        return forbidden_on(stream);
    }
    // queued one by one, so that an error names the node
    push(stream, {{"the beginning of a graph",
                   [exec] {
                       for (uint64_t at : exec->left) {
                           if (exec->frees_on_launch) unmap(at);
                           else wrong("a graph is launched again, and the memory of its last launch is not freed");
                       }
                       exec->left.clear();
                       const auto& freed = exec->graph.freed;
                       for (uint64_t at : exec->graph.allocated)
                           if (std::find(freed.begin(), freed.end(), at) == freed.end()) exec->left.push_back(at);
                   }},
                  nullptr, nullptr});
    for (const Work& node : exec->graph.nodes) {
        push(stream, {{node.name, [exec, run = &node.run] { (*run)(); }}, nullptr, nullptr});
    }
    return (CUresult)fault;
}

extern "C" int rehearsal_queue(void* stream, const char* name, void (*run)(const void*), const void* arguments,
                               size_t bytes) {
    Lock lock;
    Stream* found = stream_of(stream);
    if (!found) return CUDA_ERROR_INVALID_HANDLE;
    std::string copy((const char*)arguments, bytes);
    return queue(found, {name, [run, copy] { run(copy.data()); }});
}

extern "C" bool rehearsal_range(const char* what, uint64_t at, size_t bytes) { return check_range(what, at, bytes); }

extern "C" bool rehearsal_stream(void* stream) {
    Lock lock;
    return stream_of(stream) != nullptr;
}

extern "C" void rehearsal_say(const char* text) { say("%s", text); }

// Streams, events and graphs as the driver's functions see them.
#pragma once
#include "rehearsal.h"

#include <cuda.h>
#include <deque>
#include <memory>
#include <thread>

// A point in a stream, which an event has from its last recording.
struct Point {
    Stream* stream;
    bool passed = false;
};

struct Step {
    Work work;
    // what it waits for before it runs, and what is passed after it
    std::shared_ptr<Point> after, passes;
};

struct Graph {
    std::vector<Work> nodes;
    // addresses of its own, and those that it gives back itself
    std::vector<uint64_t> allocated, freed;
};

struct Executable {
    Graph graph;
    bool frees_on_launch;
    // memory that a launch left
    std::vector<uint64_t> left;
};

struct Capture {
    std::shared_ptr<Graph> graph = std::make_shared<Graph>();
    Stream* origin;
    std::thread::id thread;
    CUstreamCaptureMode mode;
    bool broken = false;
    // streams that joined it and have not come back
    std::vector<Stream*> forks;
};

struct Stream {
    unsigned number;
    bool is_blocking;
    std::deque<Step> steps;
    std::shared_ptr<Capture> capture;
};

struct Event {
    std::shared_ptr<Point> point;
    std::shared_ptr<Capture> captured;
    Stream* captured_on = nullptr;
};

Stream* new_stream(bool is_blocking);
void delete_stream(Stream* stream);
void push(Stream* stream, Step step);
// Runs what must be done for a point, a stream or everything to be done.
void reach(const std::shared_ptr<Point>& point);
void finish(Stream* stream);
void finish_all();

// Captures that forbid a call which may wait or is not ordered by streams, on this thread: such a call breaks them.
CUresult unsafe_call();
// The same for a call on a stream that is captured itself; for calls that wait for it or ask after it.
CUresult forbidden_on(Stream* stream);
CUresult begin_capture(Stream* stream, CUstreamCaptureMode mode);
CUresult end_capture(Stream* stream, std::shared_ptr<Graph>& graph);
CUresult record(Event* event, Stream* stream);
CUresult wait_for(Stream* stream, Event* event);
CUresult launch_graph(const std::shared_ptr<Executable>& exec, Stream* stream);
bool is_any_captured();

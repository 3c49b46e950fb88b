// What ThreadSanitizer is told of a block's threads. Without it, nothing.
#pragma once

#if defined(WIDTHWISE_SANITIZE_THREAD)
extern "C" {
void* __tsan_get_current_fiber();
void* __tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void* fiber);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
void __tsan_acquire(void* place);
void __tsan_release(void* place);
void __tsan_write_range(void* at, unsigned long bytes);
}

// A thread for the sanitizer.
class Identity {
  public:
    Identity() : identity(__tsan_create_fiber(0)) {}
    ~Identity() { __tsan_destroy_fiber(identity); }
    Identity(const Identity&) = delete;
    // From here on what runs is this thread; that says nothing of what came before what.
    void take() { __tsan_switch_to_fiber(identity, 1); }

  private:
    void* identity;
};

// The thread of the host.
class Host {
  public:
    Host() : identity(__tsan_get_current_fiber()) {}
    void take() { __tsan_switch_to_fiber(identity, 1); }

  private:
    void* identity;
};

// What is done before a release comes before what is done after an acquire.
struct Order {
    char place = 0;
    void acquire() { __tsan_acquire(&place); }
    void release() { __tsan_release(&place); }
};

inline void will_be_written(void* at, size_t bytes) { __tsan_write_range(at, bytes); }
#else
struct Identity {
    void take() {}
};
struct Host {
    void take() {}
};
struct Order {
    void acquire() {}
    void release() {}
};
inline void will_be_written(void*, size_t) {}
#endif

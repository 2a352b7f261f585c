// SPDX-License-Identifier: Apache-2.0
// linux_aio.AIOContext: the queue. What it counts and lists is in this file; how operations get in
// is in submission.cpp, how they get out in completion.cpp, how it ends in closing.cpp, and what
// Python sees of it in context_methods.cpp.
#pragma once

#include <cstdint>
#include <memory>

#include "engine/clofork_fd.hpp"
#include "engine/engine.hpp"
#include "engine/fork_guard.hpp"
#include "python/loop_binding_state.hpp"
#include "python/operation_list.hpp"
#include "python/refs.hpp"

namespace python {

// What statistics() tells; counts since the context was made.
struct Statistics {
    std::uint64_t submitted = 0;  // operations that the engine took
    std::uint64_t completed = 0;
    std::uint64_t failed = 0;             // of those completed, with an error
    std::uint64_t cancelled = 0;          // cancellations that the kernel took
    std::uint64_t submissions = 0;        // calls to the engine
    std::uint64_t short_submissions = 0;  // of those, calls that did not take all
    std::uint64_t waits = 0;              // times that a thread went to wait for completions
};

struct ContextObject;

struct Context {
    PyObject* weak_references = nullptr;  // first, for weak_references_offset

    std::unique_ptr<engine::Engine> engine;  // null once close() is through
    engine::ForkGuard fork_guard;
    bool closing = false;     // close() was called: nothing new gets in
    bool is_dropped = false;  // nobody will ever collect anything
    const char* engine_name = "";
    Statistics statistics;
    engine::RouteCounts last_routes;  // of the engine that is closed
    std::size_t max_requests = 0;

    // Threads inside the engine without the GIL: it must not go away under them.
    int threads_inside = 0;

    // Submitted and not completed, as far as was reaped. Owned.
    OperationList in_flight;
    // Of these, how many getevents will hand out, whoever else holds them.
    LifeCount to_be_kept;
    // Of these, how many will not signal `eventfd` though they ought to: it was not asked for yet.
    LifeCount unsignalled;

    // Of these, how many signal an EventFD of the program's.
    LifeCount eventfds_in_flight;
    // Of these, how many another thread is just submitting: the engine may yet refuse them.
    std::size_t unconfirmed = 0;
    // A read of a stream was given up in flight: what it has brought comes before the next read.
    bool has_unread = false;

    // Completed and neither handed out nor asked for their result, in order of completion.
    OperationList collectable;
    // Of these, how many are owned, and hold a place in the queue.
    LifeCount kept;

    // Readable while `kept` is not 0; see `fileno`. To spare the kernel the work, requests signal
    // it only once somebody has asked for it.
    engine::CloforkFd eventfd;
    bool eventfd_is_watched = false;

    LoopBinding binding;

    // See registry.hpp.

#ifdef Py_GIL_DISABLED
    engine::ForkGuard lock_guard;  // see context_lock.hpp
#endif
    ContextObject* previous_context = nullptr;
    ContextObject* next_context = nullptr;

    bool is_inherited() const noexcept { return fork_guard.is_inherited(); }
    bool is_open() const noexcept { return engine != nullptr && !closing; }
    std::size_t room() const noexcept {
        const auto used = in_flight.size() + kept;
        return used < max_requests ? max_requests - used : 0;
    }
};

struct ContextObject : PyObject, Context {};

inline ContextObject* context_of(const Operation* operation) noexcept {
    return static_cast<ContextObject*>(operation->context.get());
}

// Called with the context locked. False with RuntimeError in a child process, or ValueError once it
// is closed.
bool check_usable(const ContextObject* context);

}  // namespace python

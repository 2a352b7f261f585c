// SPDX-License-Identifier: Apache-2.0
// linux_aio.AIOContext: the queue. What it counts and lists is in this file; how operations get in
// is in submission.cpp, how they get out in completion.cpp, how it ends in closing.cpp, and what
// Python sees of it in context_methods.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

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

    // OperationLife alone changes these lists and counts.

    // Submitted and not completed, as far as was reaped. Owned.
    OperationList in_flight;
    // Of these, how many getevents will hand out, whoever else holds them.
    LifeCount to_be_owned;
    // Of these, how many will not signal `eventfd` though they ought to: it was not asked for yet.
    LifeCount unsignalled;
    // Of these, how many signal an EventFD of the program's.
    LifeCount eventfds_in_flight;
    // Completed and neither handed out nor asked for their result, in order of completion.
    OperationList collectable;
    // Of these, how many are owned, and hold a place in the queue.
    LifeCount owned_results;

    LoopBinding binding;

    // See registry.hpp.
    ContextObject* previous_context = nullptr;
    ContextObject* next_context = nullptr;

#ifdef Py_GIL_DISABLED
    engine::ForkGuard lock_guard;  // see context_lock.hpp
#endif

    // --- from its making to its end

    // The engine that is open, and its eventfd. Called once.
    void open(std::unique_ptr<engine::Engine> engine, engine::CloforkFd eventfd,
              std::size_t max_requests) noexcept;

    // Nothing new gets in.
    void start_closing() noexcept { is_closing_ = true; }

    // Nobody will ever collect anything.
    void drop() noexcept { is_dropped_ = true; }

    // close() is through: what is left of it is the caller's.
    std::unique_ptr<engine::Engine> release_engine() noexcept;
    engine::CloforkFd release_eventfd() noexcept { return std::move(eventfd_); }

    bool is_inherited() const noexcept { return fork_guard_.is_inherited(); }
    bool is_open() const noexcept { return engine_ != nullptr && !is_closing_; }
    bool is_closing() const noexcept { return is_closing_; }
    bool is_dropped() const noexcept { return is_dropped_; }

    // --- the engine

    // Null before it is opened, and once close() is through.
    engine::Engine* engine() const noexcept { return engine_.get(); }
    const char* engine_name() const noexcept { return engine_name_; }
    std::size_t max_requests() const noexcept { return max_requests_; }
    std::size_t room() const noexcept {
        const auto used = in_flight.size() + owned_results;
        return used < max_requests_ ? max_requests_ - used : 0;
    }

    // A thread is inside the engine without the GIL, which must not go away under it. It submits
    // `unconfirmed` operations, which are in flight: the engine may yet refuse them.
    void enter_engine(std::size_t unconfirmed) noexcept {
        ++threads_inside_;
        unconfirmed_ += unconfirmed;
    }
    void leave_engine(std::size_t unconfirmed) noexcept {
        unconfirmed_ -= unconfirmed;
        --threads_inside_;
    }
    std::size_t unconfirmed() const noexcept { return unconfirmed_; }
    bool is_idle() const noexcept { return in_flight.empty() && threads_inside_ == 0; }

    // --- its eventfd

    // Readable while `owned_results` is not 0; see `fileno`. To spare the kernel the work, requests
    // signal it only once somebody has asked for it.
    const engine::CloforkFd& eventfd() const noexcept { return eventfd_; }
    bool eventfd_is_watched() const noexcept { return eventfd_is_watched_; }
    // Somebody has asked. Returns whether that is new.
    bool watch_eventfd() noexcept { return !std::exchange(eventfd_is_watched_, true); }

    // --- streams

    // A read of a stream was given up in flight: what it has brought comes before the next read.
    void note_unread() noexcept { has_unread_ = true; }
    bool take_unread() noexcept { return std::exchange(has_unread_, false); }

    // --- what statistics() tells

    const Statistics& statistics() const noexcept { return statistics_; }
    engine::RouteCounts routes() const noexcept;
    void note_submission(std::size_t given, std::size_t taken) noexcept;
    void note_wait() noexcept { ++statistics_.waits; }

private:
    friend class OperationLife;

    std::unique_ptr<engine::Engine> engine_;
    engine::ForkGuard fork_guard_;
    engine::CloforkFd eventfd_;
    const char* engine_name_ = "";
    std::size_t max_requests_ = 0;
    std::size_t unconfirmed_ = 0;
    int threads_inside_ = 0;
    bool is_closing_ = false;
    bool is_dropped_ = false;
    bool eventfd_is_watched_ = false;
    bool has_unread_ = false;
    Statistics statistics_;
    engine::RouteCounts last_routes_;  // of the engine that is closed
};

struct ContextObject : PyObject, Context {};

inline ContextObject* context_of(const Operation* operation) noexcept {
    return static_cast<ContextObject*>(operation->context.get());
}

// Called with the context locked. False with RuntimeError in a child process, or ValueError once it
// is closed.
bool check_usable(const ContextObject* context);

}  // namespace python

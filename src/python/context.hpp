// SPDX-License-Identifier: Apache-2.0
// linux_aio.AIOContext: the queue. This file has its counters and lists. submission.cpp submits
// operations, completion.cpp completes them, closing.cpp closes the context, and
// context_methods.cpp has the methods and attributes that Python sees.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <utility>

#include "engine/clofork_fd.hpp"
#include "engine/engine.hpp"
#include "engine/fork_guard.hpp"
#include "python/loop_binding_state.hpp"
#include "python/operation_list.hpp"
#include "python/recent_flights.hpp"
#include "python/refs.hpp"

namespace python {

// The counters that statistics() returns. They count from the making of the context.
struct Statistics {
    std::uint64_t submitted = 0;  // operations that the engine took
    std::uint64_t completed = 0;
    std::uint64_t failed = 0;             // completed with an error
    std::uint64_t cancelled = 0;          // cancellations that the kernel took
    std::uint64_t submissions = 0;        // calls to the engine
    std::uint64_t short_submissions = 0;  // submissions of which the engine took only a part
    std::uint64_t waits = 0;              // times that a thread went to wait for completions
};

struct ContextObject;

struct Context {
    PyObject* weak_references = nullptr;  // first, for weak_references_offset

    // OperationLife alone changes these lists and counts.

    // Operations that were submitted and whose completion was not reaped yet. The list owns them.
    OperationList in_flight;
    // How many operations in flight getevents() will return, even if no other code holds them.
    LifeCount to_be_owned;
    // How many operations in flight signal no eventfd. They were expected to end within the
    // submission; see Batch::name_eventfd().
    LifeCount unsignalled;
    // How many operations in flight signal an EventFD of the program.
    LifeCount eventfds_in_flight;
    // How many operations in flight were submitted lately.
    RecentFlights recent_flights;
    // Completed operations, in order of completion, that getevents() has not returned and whose
    // result was not asked for.
    OperationList collectable;
    // How many of the collectable operations the list owns. Each of these takes a place in the
    // queue.
    LifeCount owned_results;

    LoopBinding binding;

    // See registry.hpp.
    ContextObject* previous_context = nullptr;
    ContextObject* next_context = nullptr;

#ifdef Py_GIL_DISABLED
    engine::ForkGuard lock_guard;  // see context_lock.hpp
#endif

    // --- from its making to its end

    // Sets the open engine and its eventfd. Called once.
    void open(std::unique_ptr<engine::Engine> engine, engine::CloforkFd eventfd,
              std::size_t max_requests) noexcept;

    // From now on, the context refuses new operations.
    void start_closing() noexcept { is_closing_ = true; }

    // Notes that the program has dropped the context, so that nobody will collect completions.
    void drop() noexcept { is_dropped_ = true; }

    // Called at the end of close(): hand the engine and the eventfd to the caller.
    std::unique_ptr<engine::Engine> release_engine() noexcept;
    engine::CloforkFd release_eventfd() noexcept { return std::move(eventfd_); }

    bool is_inherited() const noexcept { return fork_guard_.is_inherited(); }
    bool is_open() const noexcept { return engine_ != nullptr && !is_closing_; }
    bool is_closing() const noexcept { return is_closing_; }
    bool is_dropped() const noexcept { return is_dropped_; }

    // --- the engine

    // Null before open(), and after close().
    engine::Engine* engine() const noexcept { return engine_.get(); }
    const char* engine_name() const noexcept { return engine_name_; }
    std::size_t max_requests() const noexcept { return max_requests_; }
    std::size_t room() const noexcept {
        const auto used = in_flight.size() + owned_results;
        return used < most_in_flight_ ? most_in_flight_ - used : 0;
    }

    // From now on, any number of operations may be in flight. The kernel's queue stays as it is.
    void lift_limit() noexcept { most_in_flight_ = std::numeric_limits<std::size_t>::max(); }

    // Notes that a thread uses the engine without the GIL, so that the engine must not be
    // destroyed. The thread submits `unconfirmed` operations. They count as in flight, but the
    // engine may yet refuse them.
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

    // The eventfd is readable while `owned_results` is not 0; see `fileno`. Requests signal the
    // eventfd only once the program has asked for its number: this spares the kernel the work.
    const engine::CloforkFd& eventfd() const noexcept { return eventfd_; }
    bool eventfd_is_watched() const noexcept { return eventfd_is_watched_; }
    // Notes that the program has asked for the number. Returns whether this is the first time.
    bool watch_eventfd() noexcept { return !std::exchange(eventfd_is_watched_, true); }

    // --- streams

    // Notes that a stream's read was in flight when its task was cancelled. Its bytes are for the
    // next read, so the next read reaps first.
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
    std::size_t max_requests_ = 0;    // the size of the kernel's queue
    std::size_t most_in_flight_ = 0;  // the same, unless the limit was lifted
    std::size_t unconfirmed_ = 0;
    int threads_inside_ = 0;
    bool is_closing_ = false;
    bool is_dropped_ = false;
    bool eventfd_is_watched_ = false;
    bool has_unread_ = false;
    Statistics statistics_;
    engine::RouteCounts last_routes_;  // the counts of the engine, kept when it is closed
};

struct ContextObject : PyObject, Context {};

inline ContextObject* context_of(const Operation* operation) noexcept {
    return static_cast<ContextObject*>(operation->context.get());
}

// Returns false with RuntimeError in a child of the process that made the context.
bool check_process(const ContextObject* context);

// Called with the context locked. Returns false with RuntimeError in a child process, or with
// ValueError if the context is closed.
bool check_usable(const ContextObject* context);

}  // namespace python

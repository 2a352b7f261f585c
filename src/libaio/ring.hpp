// SPDX-License-Identifier: Apache-2.0
// The completion ring that the kernel shares with us, read in user space.
//
// Some facts about the ring:
//  - io_setup(2) maps it into the process; the context's identifier is its address.
//  - The kernel writes an event, then moves `tail`, then signals the request's eventfd. A thread
//    that was woken by the eventfd therefore finds the event here.
//  - The place of an event is free again when `head` has passed it. User space may move `head`,
//    but not while a thread is inside io_getevents(2), which reads and writes it too.
//  - The layout is not a documented ABI, but `magic` and `incompat_features` say whether it is the
//    one that we know. Where AIO is emulated (gVisor, valgrind), there may be no ring at all.
//  - After fork(2) a child process would share the ring with its parent, and the parent would take
//    what the child writes there for events. keep_from_children() prevents that.
//
// Because `head` may not move at any time, events are taken in two steps: peek() copies events
// without freeing their places, and release() frees the places of all copied events. An engine
// calls release() when no thread is inside io_getevents(2).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace kernel {
struct RingHeader;
}

namespace libaio {

// One io_event in the kernel's layout, which is the same on every machine, 32-bit ones included.
struct RingEvent {
    std::uint64_t data;
    std::uint64_t obj;
    std::int64_t res;
    std::int64_t res2;
};

// Has the ring of a context not be mapped in child processes. The caller prevents forks from
// io_setup(2) until this returns, so that no child process ever has the ring.
void keep_from_children(void* context) noexcept;

class Ring {
public:
    // Without a ring, for a context whose ring can't be read in user space: not usable().
    Ring() = default;

    // The ring at `address`; not usable() unless it has the layout that we know.
    explicit Ring(void* address) noexcept;

    bool usable() const noexcept { return header_ != nullptr; }

    // Whether there are events that peek() has not returned yet.
    bool has_unseen() const noexcept;

    // Copies events not copied before, in the order of completion, and returns how many.
    std::size_t peek(std::span<RingEvent> events) noexcept;

    // Whether places of copied events have not been given back to the kernel.
    bool has_unreleased() const noexcept { return unreleased_; }

    // Gives the places of all events copied so far back to the kernel.
    void release() noexcept;

private:
    std::uint32_t tail() const noexcept;
    const RingEvent* events() const noexcept;

    kernel::RingHeader* header_ = nullptr;
    std::uint32_t size_ = 0;  // in events; read only once, so that it can't change later
    std::uint32_t seen_ = 0;  // the index that `head` takes at the next release
    bool unreleased_ = false;
};

}  // namespace libaio

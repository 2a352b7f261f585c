// SPDX-License-Identifier: Apache-2.0
// The completion ring that the kernel shares with us, read in user space.
//
// Some facts about the ring:
//  - io_setup(2) maps it into the process; the context's identifier is its address.
//  - The kernel writes an event, then moves `tail`, then signals the request's eventfd: whoever was
//    told by an eventfd finds the event here.
//  - The place of an event is free again when `head` has passed it. User space may move `head`,
//    but not while a thread is inside io_getevents(2), which reads and writes it too.
//  - The layout is no documented ABI, but `magic` and `incompat_features` tell whether it is the
//    one that we know. A kernel that emulates AIO (gVisor, valgrind's view) may have no ring at
//    all.
//  - After fork(2) the child would have it mapped, shared with the parent: what it wrote there, the
//    parent would take for events. Hence keep_from_children().
//
// Hence the two steps: peek() looks at events without freeing their places, release() frees the
// places of all that were looked at. An engine calls release() when nobody is inside io_getevents.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace kernel {
struct RingHeader;
}

namespace libaio {

// One io_event as the kernel lays it out: the same on every machine, 32-bit ones too.
struct RingEvent {
    std::uint64_t data;
    std::uint64_t obj;
    std::int64_t res;
    std::int64_t res2;
};

// Keeps the ring of a context from child processes: it is not mapped there. While forks are held
// off from io_setup(2) on, no child has it.
void keep_from_children(void* context) noexcept;

class Ring {
public:
    // An empty view, that of a context whose ring can't be read in user space.
    Ring() = default;

    // The ring at `address`; not usable() unless it has the layout that we know.
    explicit Ring(void* address) noexcept;

    bool usable() const noexcept { return header_ != nullptr; }

    // Whether there are events that peek() has not returned yet.
    bool has_unseen() const noexcept;

    // Copies events not seen so far, in the order of completion, and returns how many.
    std::size_t peek(std::span<RingEvent> events) noexcept;

    // Whether events that were seen still hold their places.
    bool has_unreleased() const noexcept { return unreleased_; }

    // Gives the places of all events seen so far back to the kernel.
    void release() noexcept;

private:
    std::uint32_t tail() const noexcept;
    const RingEvent* events() const noexcept;

    kernel::RingHeader* header_ = nullptr;
    std::uint32_t size_ = 0;  // in events; read once, so that it can't change under us
    std::uint32_t seen_ = 0;  // the index that `head` takes at the next release
    bool unreleased_ = false;
};

}  // namespace libaio

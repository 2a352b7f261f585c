// SPDX-License-Identifier: Apache-2.0
// The layout of the ring of completed requests, which the kernel shares with us and <libaio.h> does
// not have. abi.cpp compares the structs of <libaio.h> with the kernel's.
#pragma once

#include <atomic>

namespace kernel {

// The head of the ring; the io_events follow it. No header file declares it, but it has not changed
// since Linux 2.6, and libaio, fio and others depend on it.
struct RingHeader {
    unsigned id;
    unsigned nr;    // the number of places; one always stays free
    unsigned head;  // the next event to take; moved by who takes events, the kernel or us
    unsigned tail;  // where the kernel will put the next one
    unsigned magic;
    unsigned compat_features;
    unsigned incompat_features;
    unsigned header_length;
};

static_assert(sizeof(RingHeader) == 32);

// The ring of a context, whose identifier is the ring's address. Null if it has not the layout that
// we know.
inline RingHeader* ring_at(void* address) {
    auto* ring = static_cast<RingHeader*>(address);
    const bool known = ring != nullptr && ring->magic == 0xa10a10a1 &&
                       ring->incompat_features == 0 && ring->header_length == sizeof(RingHeader);
    return known ? ring : nullptr;
}

// Whether all events that were in the ring at the time of the call have been taken, by any thread.
inline bool is_empty(RingHeader& ring) {
    // Read the tail first; acquire keeps that order. If the head was read first, other threads
    // could take all events and the kernel add new ones until the tail equals our old head: the
    // ring would look empty and be full.
    const unsigned tail = std::atomic_ref(ring.tail).load(std::memory_order_acquire);
    const unsigned head = std::atomic_ref(ring.head).load(std::memory_order_acquire);
    return head == tail;
}

}  // namespace kernel

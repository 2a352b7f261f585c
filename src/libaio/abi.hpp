// SPDX-License-Identifier: Apache-2.0
// What the kernel shares with us beyond <libaio.h>: the ring of completed requests.
// abi.cpp checks <libaio.h> itself against the kernel's layouts.
#pragma once

#include <atomic>

namespace kernel {

// The io_events follow it. No header file has it, but it has not changed since Linux 2.6, and
// libaio, fio and others depend on it.
struct RingHeader {
    unsigned id;
    unsigned nr;    // of places; one always stays free
    unsigned head;  // the next event to take, moved by whoever takes it
    unsigned tail;  // where the kernel will put the next one
    unsigned magic;
    unsigned compat_features;
    unsigned incompat_features;
    unsigned header_length;
};

static_assert(sizeof(RingHeader) == 32);

// The ring of a context, whose identifier is the ring's address; null if it is not what we know.
inline RingHeader* ring_at(void* address) {
    auto* ring = static_cast<RingHeader*>(address);
    const bool known = ring != nullptr && ring->magic == 0xa10a10a1 &&
                       ring->incompat_features == 0 && ring->header_length == sizeof(RingHeader);
    return known ? ring : nullptr;
}

// Whether all events that were there at the time of the call have been taken, by whomever.
inline bool is_empty(RingHeader& ring) {
    // The tail is read first, and acquire keeps it so. The other way round, others could take
    // everything and the kernel fill the ring in between, until its tail meets our stale head.
    const unsigned tail = std::atomic_ref(ring.tail).load(std::memory_order_acquire);
    const unsigned head = std::atomic_ref(ring.head).load(std::memory_order_acquire);
    return head == tail;
}

}  // namespace kernel

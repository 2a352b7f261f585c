// SPDX-License-Identifier: Apache-2.0
#include "libaio/ring.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>

#include "libaio/abi.hpp"

namespace libaio {

static_assert(sizeof(RingEvent) == 32);

void keep_from_children(void* context) noexcept {
    const auto* header = kernel::ring_at(context);
    if (header == nullptr) {
        return;  // emulated AIO has no ring that a child process could share
    }
    // The ring's memory ends with a page: the kernel rounds its size up.
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const auto size = sizeof *header + header->nr * sizeof(RingEvent);
    madvise(context, (size + page - 1) / page * page, MADV_DONTFORK);
}

Ring::Ring(void* address) noexcept {
    auto* header = kernel::ring_at(address);
    if (header == nullptr || header->nr == 0) {
        return;
    }
    header_ = header;
    size_ = header->nr;
    // The load is atomic for ThreadSanitizer, which does not know that the kernel mapped this ring
    // at the address of an earlier one.
    seen_ = std::atomic_ref(header->head).load(std::memory_order_relaxed) % size_;
}

// A tail outside of the ring can only be garbage. It is taken for "no new events", to be safe.
std::uint32_t Ring::tail() const noexcept {
    // acquire: the kernel orders its write of the event before that of the tail
    const auto tail = std::atomic_ref(header_->tail).load(std::memory_order_acquire);
    return tail < size_ ? tail : seen_;
}

const RingEvent* Ring::events() const noexcept {
    return reinterpret_cast<const RingEvent*>(header_ + 1);
}

bool Ring::has_unseen() const noexcept { return usable() && seen_ != tail(); }

std::size_t Ring::peek(std::span<RingEvent> events) noexcept {
    if (!usable()) {
        return 0;
    }
    const auto end = tail();
    std::size_t count = 0;
    while (seen_ != end && count < events.size()) {
        // copy up to the end of the ring or of the new events, whichever comes first
        const auto stop = seen_ < end ? end : size_;
        const auto run = std::min<std::size_t>(stop - seen_, events.size() - count);
        std::copy_n(this->events() + seen_, run, events.begin() + static_cast<long>(count));
        count += run;
        seen_ = (seen_ + static_cast<std::uint32_t>(run)) % size_;
    }
    unreleased_ = unreleased_ || count != 0;
    return count;
}

void Ring::release() noexcept {
    if (!unreleased_) {
        return;
    }
    // release: our reads of the events are done before the kernel may overwrite them
    std::atomic_ref(header_->head).store(seen_, std::memory_order_release);
    unreleased_ = false;
}

}  // namespace libaio

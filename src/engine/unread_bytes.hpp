// SPDX-License-Identifier: Apache-2.0
// Bytes that were read of a stream for somebody who was gone by then. Terminals, FIFOs and devices
// can't be asked not to wait, so a worker reads them, and a task may be cancelled meanwhile. The
// process's next read of the file gets them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "engine/request.hpp"
#include "engine/stream_key.hpp"

namespace engine {

// None for files that are no streams, and for those that are read only by the thread that wants the
// bytes. Does not wait.
std::optional<StreamKey> stream_key_of(int fd) noexcept;

// If there is no memory for them, they are lost.
void keep_unread(const StreamKey& key, std::span<const std::byte> bytes) noexcept;

// The bytes that a completed read with this result has brought.
void keep_unread(const StreamKey& key, const OperationData& read, std::int64_t result) noexcept;

// Moves kept bytes into the memory of a read. Returns how many; 0: there are none.
std::int64_t take_unread(const OperationData& read, int fd) noexcept;

bool has_unread(int fd) noexcept;

// Wakes who listens, if a thread has kept bytes that could not. For a thread that has the program's
// table of descriptors, when a read was cancelled.
void tell_of_unread() noexcept;

// Tells a thread that waits for streams to become ready whenever bytes were kept, which a read may
// wait for that began before.
class UnreadListener {
public:
    // `wake_number`: that of the eventfd that wakes the thread, in the program's table of
    // descriptors, where it stays as long as the listener. A thread with another table wakes
    // nobody.
    explicit UnreadListener(const std::atomic<int>& wake_number) noexcept;
    ~UnreadListener();
    UnreadListener(const UnreadListener&) = delete;
    UnreadListener& operator=(const UnreadListener&) = delete;

    // Whether bytes were kept since they were last taken note of.
    bool has_news() const noexcept { return has_news_.load(std::memory_order_acquire); }
    bool take_news() noexcept { return has_news_.exchange(false, std::memory_order_acq_rel); }

    void note() noexcept { has_news_.store(true, std::memory_order_release); }
    void wake() noexcept;

private:
    const std::atomic<int>& wake_number_;
    std::atomic<bool> has_news_ = false;
};

}  // namespace engine

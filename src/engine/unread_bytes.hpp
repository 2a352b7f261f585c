// SPDX-License-Identifier: Apache-2.0
// Keeps bytes of a stream that were read for a task that was cancelled meanwhile. Reads of
// terminals, FIFOs and devices can't be told not to wait, so a worker makes them, and the task may
// be cancelled before it gets the bytes. The process's next read of the file gets them instead.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "engine/request.hpp"
#include "engine/stream_key.hpp"

namespace engine {

// The key of a stream. None for files that are no streams, and for streams that are read only by
// the thread that wants the bytes. Does not wait.
std::optional<StreamKey> stream_key_of(int fd) noexcept;

// Keeps the bytes. If there is no memory for that, they are lost.
void keep_unread(const StreamKey& key, std::span<const std::byte> bytes) noexcept;

// Keeps the bytes of a completed read with this result.
void keep_unread(const StreamKey& key, const OperationData& read, std::int64_t result) noexcept;

// Moves kept bytes of the stream `fd` into the memory of a read. Returns how many; 0: there are
// none.
std::int64_t take_unread(const OperationData& read, int fd) noexcept;

bool has_unread(int fd) noexcept;

// Wakes the listeners, if bytes were kept by a thread that could not wake them. Called after a read
// was cancelled, in a thread that has the program's descriptor table.
void tell_of_unread() noexcept;

// Tells an I/O thread whenever bytes were kept, because a read that it already waits for may get
// them.
class UnreadListener {
public:
    // `wake_number`: the number, in the program's descriptor table, of the eventfd that wakes the
    // thread. The eventfd must stay open as long as the listener exists. A thread with another
    // table can't wake the I/O thread.
    explicit UnreadListener(const std::atomic<int>& wake_number) noexcept;
    ~UnreadListener();
    UnreadListener(const UnreadListener&) = delete;
    UnreadListener& operator=(const UnreadListener&) = delete;

    // Whether bytes were kept since the last take_news().
    bool has_news() const noexcept { return has_news_.load(std::memory_order_acquire); }
    bool take_news() noexcept { return has_news_.exchange(false, std::memory_order_acq_rel); }

    void note() noexcept { has_news_.store(true, std::memory_order_release); }
    void wake() noexcept;

private:
    const std::atomic<int>& wake_number_;
    std::atomic<bool> has_news_ = false;
};

}  // namespace engine

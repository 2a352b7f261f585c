// SPDX-License-Identifier: Apache-2.0
// Bytes that were read of a stream for somebody who was gone by then. Terminals, FIFOs and devices
// can't be asked not to wait, so a worker reads them, and a task may be cancelled meanwhile. The
// process's next read of the file gets them.
#pragma once

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

}  // namespace engine

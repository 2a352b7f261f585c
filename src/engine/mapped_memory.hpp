// SPDX-License-Identifier: Apache-2.0
// Memory that is mapped from a file: to touch it may wait for a disk or a server.
#pragma once

#include <cstddef>

#include "engine/request.hpp"

namespace engine {

// Whether a part of the memory is mapped from a file that is not itself in memory (as tmpfs, memfd
// and shared anonymous memory are). True if that can't be found out, for lack of a free descriptor
// or of /proc. To ask the kernel takes some microseconds. Only "yes" is remembered, for a tenth of
// a second: another file may be mapped at the same address at any time. Before Linux 6.11 it takes
// milliseconds in a large program, and "no" is remembered, too.
bool is_mapped_from_disk(const void* address, std::size_t length) noexcept;

// Waits until the beginning of a transfer's memory is there. A transfer that itself waits for a
// page may hold the lock of its file meanwhile, as that of a socket, for which others would wait.
void bring_in(const OperationData& transfer) noexcept;

}  // namespace engine

// SPDX-License-Identifier: Apache-2.0
// Memory that is mapped from a file: to touch it may wait for a disk or a server.
#pragma once

#include <cstddef>

namespace engine {

// Whether some of the memory is mapped from a file that is not itself in memory (tmpfs, memfd and
// shared anonymous memory are). If it can't be found out: no. Asks the kernel, some microseconds;
// what it says of a mapping is believed for a tenth of a second.
bool is_mapped_from_disk(const void* address, std::size_t length) noexcept;

}  // namespace engine

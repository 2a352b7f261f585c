// SPDX-License-Identifier: Apache-2.0
// Direct reads of any range into any memory, in a thread that may wait.
#pragma once

#include <cstdint>

#include "engine/operations/operation_type.hpp"

namespace engine {

// Reads aligned parts into aligned memory that it allocates, and copies the bytes to the
// operation's memory. Stops at the end of the file, so that a read far beyond it takes neither time
// nor memory. `read_part` carries out one aligned read. Returns the number of bytes read, or a
// negative errno.
std::int64_t read_through_aligned_memory(const OperationData& operation, const Target& target,
                                         CarryOut read_part) noexcept;

}  // namespace engine

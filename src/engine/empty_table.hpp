// SPDX-License-Identifier: Apache-2.0
// Gives a thread a descriptor table of its own.
#pragma once

#include <span>

namespace engine {

// Gives the calling thread a descriptor table of its own that has only the `kept` descriptors,
// under the same numbers. Does not wait, and does nothing that the program could notice. Returns
// false, with nothing changed, if that is impossible. Other threads may be using the old table.
bool enter_empty_table(std::span<const int> kept) noexcept;

}  // namespace engine

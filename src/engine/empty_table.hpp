// SPDX-License-Identifier: Apache-2.0
// A descriptor table of a thread's own.
#pragma once

#include <span>

namespace engine {

// Gives the calling thread a table of descriptors that has nothing but those to keep, under the
// numbers that they have. Waits for nobody, and does nothing that the program could see: false,
// with nothing changed, where that can't be had. Other threads may be using the old table.
bool enter_empty_table(std::span<const int> kept) noexcept;

}  // namespace engine

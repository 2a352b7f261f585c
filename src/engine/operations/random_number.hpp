// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace engine {

// For names that nobody else has, as far as chance goes. Not for secrets. Never waits.
std::uint64_t random_number() noexcept;

}  // namespace engine

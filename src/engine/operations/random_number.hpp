// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace engine {

// A number for names that most likely nobody else has. Not for secrets. Never waits.
std::uint64_t random_number() noexcept;

}  // namespace engine

// SPDX-License-Identifier: Apache-2.0
// Knows whether the process that made an object is still the one that runs.
#pragma once

#include <cstdint>

namespace engine {

class ForkGuard {
public:
    ForkGuard() noexcept;

    // True in a child process, for what was made before the fork(2).
    bool is_inherited() const noexcept;

private:
    std::uint64_t generation_;
};

}  // namespace engine

// SPDX-License-Identifier: Apache-2.0
// Tells whether an object was made in this process, or in the parent before fork(2).
#pragma once

#include <cstdint>

namespace engine {

class ForkGuard {
public:
    ForkGuard() noexcept;

    // True in a child process, if the guard was made before the fork(2).
    bool is_inherited() const noexcept;

private:
    std::uint64_t generation_;
};

}  // namespace engine

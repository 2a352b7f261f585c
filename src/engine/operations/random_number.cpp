// SPDX-License-Identifier: Apache-2.0
#include "engine/operations/random_number.hpp"

#include <sys/random.h>

#include <ctime>

namespace engine {

std::uint64_t random_number() noexcept {
    std::uint64_t number = 0;
    if (getrandom(&number, sizeof number, GRND_NONBLOCK) != sizeof number) {
        timespec now{};
        clock_gettime(CLOCK_MONOTONIC, &now);
        number = static_cast<std::uint64_t>(now.tv_nsec) * 0x9e3779b97f4a7c15U +
                 reinterpret_cast<std::uintptr_t>(&number);
    }
    return number;
}

}  // namespace engine

// SPDX-License-Identifier: Apache-2.0
#include "engine/operations/write_all.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "engine/operations/system_result.hpp"

namespace engine {
namespace {

constexpr std::size_t most_in_one_write = std::size_t{1} << 30U;

}  // namespace

std::int64_t write_all(int fd, const char* data, std::size_t size) noexcept {
    while (size != 0) {
        const auto result = result_of(::write(fd, data, std::min(size, most_in_one_write)));
        if (result == -EINTR) {
            continue;
        }
        if (result <= 0) {
            return result < 0 ? result : -EIO;
        }
        data += result;
        size -= static_cast<std::size_t>(result);
    }
    return 0;
}

}  // namespace engine

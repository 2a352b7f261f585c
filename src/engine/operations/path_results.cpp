// SPDX-License-Identifier: Apache-2.0
#include "engine/operations/path_results.hpp"

#include <unistd.h>

#include <cerrno>

#include "engine/operations/system_result.hpp"

namespace engine {

std::int64_t ReadlinkCall::run(const CallFiles& files) noexcept {
    const auto result = call_uninterrupted(
        [&] { return readlinkat(files.first, path_, target_.data(), target_.size()); });
    length_ = result > 0 ? static_cast<std::size_t>(result) : 0;
    return result;
}

std::int64_t StatvfsCall::run(const CallFiles& files) noexcept {
    return call_uninterrupted([&] {
        return path_ != nullptr ? statvfs(path_, &status_) : fstatvfs(files.first, &status_);
    });
}

}  // namespace engine

// SPDX-License-Identifier: Apache-2.0
#include "engine/operations/write_here.hpp"

#include <unistd.h>

#include "engine/operations/system_result.hpp"

namespace engine {

std::int64_t WriteHereCall::run(const CallFiles& files) noexcept {
    return call_uninterrupted([&] { return ::write(files.first, data_, size_); });
}

}  // namespace engine

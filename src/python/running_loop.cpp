// SPDX-License-Identifier: Apache-2.0
#include "python/running_loop.hpp"

#include "python/asyncio_loop.hpp"
#include "python/trio_loop.hpp"

namespace python {

const LoopKind& running_kind(ModuleState& state) noexcept {
    return is_in_trio(state) ? trio_loop() : asyncio_loop();
}

EventLoop running_loop(ModuleState& state) {
    const auto& kind = running_kind(state);
    auto loop = kind.find_running(state);
    if (!loop) {
        return {};
    }
    return {.kind = &kind, .object = std::move(loop)};
}

}  // namespace python

// SPDX-License-Identifier: Apache-2.0
#include "python/event_loop.hpp"

#include "python/asyncio_loop.hpp"

namespace python {

EventLoop running_loop(ModuleState& state) {
    auto loop = running_asyncio_loop(state);
    if (!loop) {
        return {};
    }
    return {.kind = &asyncio_loop(), .object = std::move(loop)};
}

}  // namespace python

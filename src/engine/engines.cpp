// SPDX-License-Identifier: Apache-2.0
#include "engine/aio_engine.hpp"
#include "engine/engine.hpp"

namespace engine {

std::unique_ptr<Engine> make_engine(std::string_view name, unsigned max_requests) {
    if (name == "aio") {
        return std::make_unique<AioEngine>(max_requests);
    }
    return nullptr;
}

}  // namespace engine

// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <new>
#include <system_error>

#include "engine/aio_engine.hpp"
#include "engine/engine.hpp"

namespace engine {

std::unique_ptr<Engine> open_engine(std::string_view name, unsigned max_requests,
                                    int& error) noexcept {
    error = 0;
    try {
        if (name == "aio") {
            return std::make_unique<AioEngine>(max_requests);
        }
    } catch (const std::system_error& refusal) {
        error = refusal.code().value();
    } catch (const std::bad_alloc&) {
        error = ENOMEM;
    }
    return nullptr;
}

}  // namespace engine

// SPDX-License-Identifier: Apache-2.0
#include "engine/routing.hpp"

#include <cerrno>
#include <exception>

#include "engine/reactors.hpp"

namespace engine {

void Routing::send_inside(Request& request, Pace pace) noexcept {
    request.route = Route::inside;
    request.pace = pace;
}

void Routing::send_to_kernel(Request& request, Reason otherwise) noexcept {
    if (open_aio() != nullptr) {
        request.route = Route::aio;
        request.pace = Pace::asynchronous;
    } else if (request.opcode == Opcode::poll) {
        send_to_reactor(request, otherwise);
    } else {
        send_blocking(request, otherwise);
    }
}

void Routing::send_to_reactor(Request& request, Reason reason) noexcept {
    request.route = Route::reactor;
    request.pace = Pace::asynchronous;
    request.reason = reason;
}

void Routing::send_to_workers(Request& request, Reason reason, bool is_brief) noexcept {
    request.route = Route::workers;
    request.pace = Pace::asynchronous;
    request.is_brief = is_brief;
    request.reason = reason;
}

void Routing::send_blocking(Request& request, Reason reason) noexcept {
    if (has_uring()) {
        send_to_reactor(request, reason);
    } else {
        send_to_workers(request, reason, false);
    }
}

// Called with the first request for kernel AIO.
AioEngine* Routing::open_aio() noexcept {
    if (has_tried_aio_) {
        return aio();
    }
    has_tried_aio_ = true;
    try {
        // one more for the waker; this may be a loop's thread, which must not wait
        owned_aio_ = std::make_unique<AioEngine>(max_requests_ + 1, AtLimit::fail);
    } catch (const std::exception&) {
        return nullptr;
    }
    aio_.store(owned_aio_.get());
    return owned_aio_.get();
}

bool Routing::has_uring() noexcept {
    auto found = uring_.load(std::memory_order_relaxed);
    if (found == Uring::unknown) {
        const int error = probe_uring();
        if (error == EMFILE || error == ENFILE || error == ENOMEM) {
            return false;  // a later probe tells
        }
        found = error == 0 ? Uring::usable : Uring::unusable;
        uring_.store(found, std::memory_order_relaxed);
    }
    return found == Uring::usable;
}

}  // namespace engine

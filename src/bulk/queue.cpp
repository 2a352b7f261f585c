// SPDX-License-Identifier: Apache-2.0
#include "bulk/queue.hpp"

#include <array>
#include <atomic>

#include "engine/engine.hpp"

namespace bulk {
namespace {

// Whether the system allows io_uring. The answer is kept, because finding out sets up a ring. If
// the process enters a sandbox later, open_queue() sees the refusal.
bool has_uring() noexcept {
    static const bool is_allowed = engine::probe_engine("uring") == 0;
    return is_allowed;
}

bool may_use_uring(Reads reads) noexcept {
    return reads != Reads::direct_from_server && has_uring();
}

// Whether open_queue() tries the next engine after this error. EAGAIN and ENOMEM count, because the
// kernel reports limits of kernel AIO and io_uring by them. A lack of descriptors does not count.
bool is_refusal(int error) noexcept {
    return error == ENOTSUP || error == ENOSYS || error == EPERM || error == EACCES ||
           error == EAGAIN || error == ENOMEM || error == EINVAL || error == EUSERS;
}

std::unique_ptr<Queue> open_named(std::string_view engine, unsigned depth, int& error) noexcept {
    return engine == "uring" ? open_uring_queue(depth, error)
                             : open_engine_queue(engine, depth, error);
}

}  // namespace

std::unique_ptr<Queue> open_queue(std::string_view engine, unsigned depth, Reads reads,
                                  int& error) noexcept {
    if (engine != "auto") {
        return open_named(engine, depth, error);
    }
    constexpr std::array<std::string_view, 3> choices{"uring", "aio", "threads"};
    std::unique_ptr<Queue> queue;
    for (const auto choice : choices) {
        if ((choice == "uring" && !may_use_uring(reads)) ||
            (choice == "aio" && reads == Reads::buffered)) {
            continue;
        }
        queue = open_named(choice, depth, error);
        if (queue != nullptr || !is_refusal(error)) {
            break;
        }
    }
    return queue;
}

const char* likely_queue(std::string_view engine, Reads reads) noexcept {
    for (const auto name : engine::engine_names) {
        if (name == engine && name != "auto") {
            return name.data();
        }
    }
    if (may_use_uring(reads)) {
        return "uring";
    }
    return reads != Reads::buffered && engine::probe_engine("aio") == 0 ? "aio" : "threads";
}

}  // namespace bulk

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

std::unique_ptr<Queue> open_queue(std::string_view engine, unsigned depth, bool is_direct,
                                  int& error) noexcept {
    if (engine != "auto") {
        return open_named(engine, depth, error);
    }
    constexpr std::array<std::string_view, 3> choices{"uring", "aio", "threads"};
    std::unique_ptr<Queue> queue;
    for (const auto choice : choices) {
        if ((choice == "uring" && !has_uring()) || (choice == "aio" && !is_direct)) {
            continue;
        }
        queue = open_named(choice, depth, error);
        if (queue != nullptr || !is_refusal(error)) {
            break;
        }
    }
    return queue;
}

const char* likely_queue(std::string_view engine, bool is_direct) noexcept {
    for (const auto name : engine::engine_names) {
        if (name == engine && name != "auto") {
            return name.data();
        }
    }
    if (has_uring()) {
        return "uring";
    }
    return is_direct && engine::probe_engine("aio") == 0 ? "aio" : "threads";
}

}  // namespace bulk

// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <cstring>
#include <fstream>
#include <new>
#include <string>
#include <system_error>

#include "engine/auto_engine.hpp"
#include "engine/engine.hpp"
#include "engine/kernel_engine.hpp"
#include "engine/reactors.hpp"
#include "engine/thread_engine.hpp"

namespace engine {
namespace {

std::unique_ptr<Engine> open(std::string_view name, unsigned max_requests, AtLimit at_limit) {
    if (name == "auto") {
        return std::make_unique<AutoEngine>(max_requests);
    }
    if (name == "aio") {
        return std::make_unique<KernelEngine>(max_requests, at_limit);
    }
    if (name == "threads") {
        return std::make_unique<ThreadEngine>("threads", PoolKind::epoll, Route::workers);
    }
    if (name == "uring") {
        if (const int error = probe_uring(); error != 0) {
            throw std::system_error(error, std::generic_category());
        }
        return std::make_unique<ThreadEngine>("uring", PoolKind::uring, Route::reactor);
    }
    return nullptr;
}

std::string first_line_of(const char* path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return line;
}

}  // namespace

bool Engine::cancel(Request& request) noexcept {
    const auto flight = request.flight;
    auto answer = post_cancellation(request);
    while (answer == CancelAnswer::pending) {
        answer = wait_for_answer(request, flight, std::chrono::seconds(1));
    }
    return answer == CancelAnswer::yes;
}

std::unique_ptr<Engine> open_engine(std::string_view name, unsigned max_requests, int& error,
                                    AtLimit at_limit) noexcept {
    error = 0;
    try {
        return open(name, max_requests, at_limit);
    } catch (const std::system_error& refusal) {
        error = refusal.code().value();
    } catch (const std::bad_alloc&) {
        error = ENOMEM;
    }
    return nullptr;
}

int probe_engine(std::string_view name) noexcept {
    if (name == "uring") {
        return probe_uring();
    }
    int error = 0;
    open_engine(name, 1, error);
    return error;
}

void explain_refusal(std::string_view name, int error, std::span<char> text) noexcept {
    std::string_view reason = "refused by the kernel";
    const bool is_uring = name == "uring";
    try {
        if (error == ENOTSUP && is_uring) {
            reason = "not built in: the extension was built without liburing";
        } else if (error == ENOSYS) {
            reason = is_uring ? "the kernel, or a sandbox, has no io_uring(7)"
                              : "the kernel, or a sandbox, has no io_setup(2) or io_submit(2)";
        } else if (error == EPERM && is_uring) {
            const auto setting = first_line_of("/proc/sys/kernel/io_uring_disabled");
            reason = setting == "2" || setting == "1"
                         ? "kernel.io_uring_disabled forbids it"
                         : "io_uring(7) is not permitted, as by a seccomp filter";
        } else if (error == EPERM) {
            reason = "io_setup(2) or io_submit(2) is not permitted, as by a seccomp filter";
        } else if (error == ENOMEM && is_uring) {
            reason = "the limit of locked memory, ulimit -l, leaves no room for a ring";
        } else if (error == EUSERS && is_uring) {
            reason = "the limit of processes, ulimit -u, leaves the kernel no threads for a ring";
        } else if (error == EAGAIN) {
            reason = "/proc/sys/fs/aio-max-nr is used up";
        }
    } catch (const std::exception&) {
        reason = "refused by the kernel";
    }
    const auto length = std::min(reason.size(), text.size() - 1);
    std::memcpy(text.data(), reason.data(), length);
    text[length] = '\0';
}

}  // namespace engine

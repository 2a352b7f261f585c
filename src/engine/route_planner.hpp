// SPDX-License-Identifier: Apache-2.0
// Decides which route each request of engine `auto` takes, before it is submitted. Requests that
// may be over in the submitting thread are sent inside; a try there tells whether they go on
// elsewhere.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <span>

#include "engine/file_facts.hpp"
#include "engine/hot_files.hpp"
#include "engine/request.hpp"
#include "engine/routing.hpp"

namespace engine {

// The most bytes that the submitting thread copies itself, which takes some ten microseconds.
inline constexpr std::size_t most_inside = std::size_t{256} * 1024;

inline bool wants_no_wait(const Request& request) noexcept {
    return (request.rw_flags & RWF_NOWAIT) != 0;
}

class RoutePlanner {
public:
    RoutePlanner(Routing& routing, FileFacts& facts, HotFiles& hot_files) noexcept
        : routing_(routing), facts_(facts), hot_files_(hot_files) {}

    void plan(std::span<Request* const> requests) noexcept;

private:
    void plan_poll(Request& request) noexcept;
    void plan_sync(Request& request) noexcept;
    void plan_transfer(Request& request, const FileFacts::Look& look) noexcept;
    static void plan_at_position(Request& request, const FileFacts::Look& look) noexcept;
    void plan_direct(Request& request, const FileFacts::Look& look) noexcept;
    void plan_buffered(Request& request) noexcept;

    Routing& routing_;
    FileFacts& facts_;
    HotFiles& hot_files_;
};

}  // namespace engine

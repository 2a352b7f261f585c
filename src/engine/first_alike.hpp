// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <span>

#include "engine/request.hpp"

namespace engine {

// Returns the longest run of requests, from the front, for which `has` returns the same.
template <typename Property>
std::span<Request* const> first_alike(std::span<Request* const> requests, Property has) noexcept {
    const bool wanted = has(requests.front());
    const auto end = std::ranges::find_if(
        requests, [&](const Request* request) { return has(request) != wanted; });
    return {requests.begin(), end};
}

}  // namespace engine

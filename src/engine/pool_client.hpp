// SPDX-License-Identifier: Apache-2.0
// The data that a worker pool keeps for an engine: where its completions go, and how many requests
// it has in flight.
#pragma once

#include <cstddef>

#include "engine/completion_queue.hpp"

namespace engine {

struct PoolClient {
    CompletionQueue completions;

    // Whether requests fail if the pool could not open its first choice of a reactor.
    bool needs_first_choice = false;

    // The pool's lock guards these members.
    std::size_t in_flight = 0;  // requests, until a thread of the pool has posted the completion
    bool ends_streams = false;  // requests that turn out to wait for a stream are cancelled
    unsigned turn = 0;          // among the clients that wait for one device; 0: never had to wait
    bool has_left = false;      // the engine is gone: the last request to end frees the client
};

}  // namespace engine

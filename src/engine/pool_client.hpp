// SPDX-License-Identifier: Apache-2.0
// An engine, as a worker pool sees it: where its completions go, and how many requests it has
// there.
#pragma once

#include <cstddef>

#include "engine/completion_queue.hpp"

namespace engine {

struct PoolClient {
    CompletionQueue completions;

    // Requests fail if the pool's I/O thread could not have its first choice of a reactor.
    bool needs_first_choice = false;

    // What follows is behind the pool's lock.
    std::size_t in_flight = 0;  // a thread of the pool may still be posting the completion
    bool ends_streams = false;  // what turns out to wait for a stream is cancelled
    unsigned turn = 0;          // among those that wait for one device; 0: it never had to
    bool has_left = false;      // the engine is gone: the last request to end deletes this
};

}  // namespace engine

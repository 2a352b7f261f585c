// SPDX-License-Identifier: Apache-2.0
// The end of a request that the submitting thread has carried out itself.
#pragma once

#include "engine/completion_queue.hpp"

namespace engine {

// Completes the request, and signals its eventfd. Whoever reads that finds the completion; and
// nobody sees the completion, and closes the eventfd, before it is signalled.
inline void finish_inside(CompletionQueue& completions, Request& request,
                          std::int64_t result) noexcept {
    if (request.eventfd >= 0 && !request.signals_only_later) {
        completions.push_and_signal(request, result);
    } else {
        completions.push(request, result);
    }
}

}  // namespace engine

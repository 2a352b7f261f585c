// SPDX-License-Identifier: Apache-2.0
// Completes a request that the submitting thread has carried out itself.
#pragma once

#include "engine/completion_queue.hpp"

namespace engine {

// Completes the request. Unless it has `signals_only_later`, also signals its eventfd. A thread
// that reads the eventfd finds the completion; and no thread can reap the completion, and then
// close the eventfd, before the signal.
inline void finish_inside(CompletionQueue& completions, Request& request,
                          std::int64_t result) noexcept {
    if (request.signals_only_later) {
        completions.push(request, result);
    } else {
        completions.push_and_signal(request, result);
    }
}

}  // namespace engine

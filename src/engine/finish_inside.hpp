// SPDX-License-Identifier: Apache-2.0
// The end of a request that the submitting thread has carried out itself.
#pragma once

#include <fcntl.h>

#include "engine/completion_queue.hpp"
#include "engine/eventfd_signal.hpp"
#include "engine/unique_fd.hpp"

namespace engine {

// Completes the request, then signals its eventfd: who reads the eventfd finds the completion. A
// thread that has seen the completion may close the eventfd before it is signalled. So an eventfd
// of the program's is signalled by a duplicate.
inline void finish_inside(CompletionQueue& completions, Request& request,
                          std::int64_t result) noexcept {
    int to_signal = request.signals_only_later ? -1 : request.eventfd;
    const bool may_block = request.eventfd_may_block;
    UniqueFd own;
    if (to_signal >= 0 && may_block) {
        own = UniqueFd(fcntl(to_signal, F_DUPFD_CLOEXEC, 3));
        to_signal = own.is_open() ? own.get() : to_signal;
    }
    completions.push(request, result);
    if (to_signal >= 0) {
        signal_any_eventfd(to_signal, 1, may_block);
    }
}

}  // namespace engine

// SPDX-License-Identifier: Apache-2.0
// Destroys kernel AIO queues in separate threads, because io_destroy(2) takes some 30 ms (an RCU
// grace period) even if nothing is in flight.
#pragma once

#include <libaio.h>

namespace engine {

// Takes over a queue with nothing in flight, and destroys it later. Returns at once, unless no
// thread can be started.
void destroy_soon(io_context_t context) noexcept;

// Waits until the queues that were taken over before are destroyed: until then, each counts against
// fs.aio-max-nr. False if there were none.
bool wait_for_destroyed() noexcept;

}  // namespace engine

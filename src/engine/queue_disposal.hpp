// SPDX-License-Identifier: Apache-2.0
// Destroys kernel AIO queues in threads of its own: io_destroy(2) takes some 30 ms, an RCU grace
// period, also where nothing is in flight.
#pragma once

#include <libaio.h>

namespace engine {

// Takes over a queue with nothing in flight. At once, unless very many wait to be destroyed or no
// thread can be started.
void destroy_soon(io_context_t context) noexcept;

// Waits until those taken over before are destroyed: each counts against fs.aio-max-nr until then.
// False if there were none.
bool wait_for_destroyed() noexcept;

}  // namespace engine

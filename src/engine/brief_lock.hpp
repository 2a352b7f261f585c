// SPDX-License-Identifier: Apache-2.0
// Taking a lock that is only ever held for a few microseconds: to sleep, and be woken, would take
// longer.
#pragma once

#include <sched.h>

#include <mutex>

namespace engine {

// Takes a lock that is never held for long, in a thread of the program's. Tries again and again,
// lets other threads run if the owner of the lock seems to have no processor, and sleeps last.
inline std::unique_lock<std::mutex> lock_briefly(std::mutex& mutex) noexcept {
    constexpr int tries_at_once = 64;
    constexpr int most_tries = tries_at_once + 256;
    for (int tries = 0; tries < most_tries; ++tries) {
        if (std::unique_lock lock(mutex, std::try_to_lock); lock.owns_lock()) {
            return lock;
        }
        if (tries >= tries_at_once) {
            sched_yield();
        }
    }
    return std::unique_lock(mutex);
}

}  // namespace engine

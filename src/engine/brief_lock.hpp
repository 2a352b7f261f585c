// SPDX-License-Identifier: Apache-2.0
// Takes a lock that is only ever held for a few microseconds, if possible without sleeping: to
// sleep and be woken would take longer.
#pragma once

#include <sched.h>

#include <mutex>

namespace engine {

// Takes such a lock in a thread of the program. First tries again and again. Then yields the
// processor between tries, because the thread with the lock may not be running. Sleeps only if all
// of this fails.
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

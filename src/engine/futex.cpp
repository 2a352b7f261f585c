// SPDX-License-Identifier: Apache-2.0
#include "engine/futex.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include "engine/time.hpp"

namespace engine {
namespace {

// Of the two calls that take a time-out on 32-bit machines, this is the one that every kernel has:
// its timespec has two longs.
#ifdef __NR_futex
constexpr long nr_futex = __NR_futex;
struct Timespec {
    long tv_sec;
    long tv_nsec;
};
#else
// 32-bit machines younger than 64-bit time have no other
constexpr long nr_futex = __NR_futex_time64;
struct Timespec {
    std::int64_t tv_sec;
    std::int64_t tv_nsec;
};
#endif

static_assert(sizeof(std::atomic<std::uint32_t>) == sizeof(std::uint32_t));

}  // namespace

int futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected,
               std::optional<std::chrono::nanoseconds> timeout) noexcept {
    // Beyond some years it makes no difference, but the seconds may not fit.
    constexpr std::chrono::nanoseconds longest = std::chrono::hours(24 * 365);
    Timespec time{};
    if (timeout) {
        time = to_timespec<Timespec>(std::min(*timeout, longest));
    }
    const int callers_errno = errno;
    const long status = syscall(nr_futex, &word, FUTEX_WAIT_PRIVATE, expected,
                                timeout ? &time : nullptr, nullptr, 0);
    const int error = status == 0 ? 0 : errno;
    errno = callers_errno;
    return error == ETIMEDOUT || error == EINTR ? error : 0;
}

void futex_wake_all(const std::atomic<std::uint32_t>& word) noexcept {
    const int callers_errno = errno;
    syscall(nr_futex, &word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
    errno = callers_errno;
}

}  // namespace engine

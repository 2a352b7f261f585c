// SPDX-License-Identifier: Apache-2.0

#include "libaio.h"

#include <linux/types.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <ctime>
#include <limits>
#include <utility>

#include "libaio/abi.hpp"

namespace {

// Stands for a call that this architecture lacks. The kernel answers ENOSYS to this number.
constexpr long no_such_call = -1;

#ifdef __NR_io_getevents
constexpr long nr_io_getevents = __NR_io_getevents;
#else
constexpr long nr_io_getevents = no_such_call;
#endif

#ifdef __NR_io_pgetevents
constexpr long nr_io_pgetevents = __NR_io_pgetevents;
#else
constexpr long nr_io_pgetevents = no_such_call;
#endif

#ifdef __NR_io_pgetevents_time64
constexpr long nr_io_pgetevents_time64 = __NR_io_pgetevents_time64;
#else
constexpr long nr_io_pgetevents_time64 = no_such_call;
#endif

// Where time_t is wider than long, only io_pgetevents_time64 takes our timespec. On x32, time_t is
// wider than long, too, but that call does not exist: the other calls take 64-bit times there.
constexpr bool needs_time64 = nr_io_pgetevents_time64 != no_such_call &&
                              sizeof(time_t) > sizeof(long);

// Makes a system call as libaio does: returns an error as a negative errno, and leaves errno alone.
template <typename... Arguments>
int system_call(long number, Arguments... arguments) {
    const int callers_errno = errno;
    const long result = syscall(number, arguments...);
    return result == -1 ? -std::exchange(errno, callers_errno) : static_cast<int>(result);
}

// The timespec of the calls that are older than 64-bit time on 32-bit machines.
struct OldTimespec {
    long tv_sec;
    long tv_nsec;
};

// Seconds beyond the range of OldTimespec become its limit, 68 years.
// not covered: used only on 32-bit machines with a 64-bit time_t, whose tests ./dev time64 runs
OldTimespec to_old(const timespec& time) {
    using Range = std::numeric_limits<long>;
    const time_t seconds = std::clamp<time_t>(time.tv_sec, Range::min(), Range::max());
    return {static_cast<long>(seconds), static_cast<long>(time.tv_nsec)};
}

// The signal mask argument of io_pgetevents. Its fields are the kernel's words: 64 bits even on
// x32.
struct SignalMask {
    __kernel_ulong_t address;
    __kernel_ulong_t size;
};

bool is_zero(const timespec* timeout) {
    return timeout != nullptr && timeout->tv_sec == 0 && timeout->tv_nsec == 0;
}

bool has_nothing_to_reap(io_context_t ctx) {
    auto* ring = kernel::ring_at(ctx);
    return ring != nullptr && kernel::is_empty(*ring);
}

// `number` is the call: io_getevents, which ignores the mask, or io_pgetevents.
int getevents(long number, io_context_t ctx, long min_nr, long nr, io_event* events,
              const timespec* timeout, const SignalMask* mask) {
    if (is_zero(timeout) && has_nothing_to_reap(ctx)) {
        return 0;
    }
    const auto call = [=](long variant, const void* time) {
        return system_call(variant, ctx, min_nr, nr, events, time, mask);
    };
    if (needs_time64) {
        const int result = call(nr_io_pgetevents_time64, timeout);
        if (result != -ENOSYS && result != -EPERM) {
            return result;
        }
        // Linux before 5.1, or a sandbox that does not know the call.
        const OldTimespec old = timeout != nullptr ? to_old(*timeout) : OldTimespec{};
        return call(number, timeout != nullptr ? &old : nullptr);
    }
    return call(number, timeout);
}

}  // namespace

int io_setup(int maxevents, io_context_t* ctxp) {
    return system_call(__NR_io_setup, maxevents, ctxp);
}

int io_destroy(io_context_t ctx) { return system_call(__NR_io_destroy, ctx); }

int io_submit(io_context_t ctx, long nr, iocb* requests[]) {
    return system_call(__NR_io_submit, ctx, nr, requests);
}

int io_cancel(io_context_t ctx, iocb* request, io_event* event) {
    return system_call(__NR_io_cancel, ctx, request, event);
}

int io_getevents(io_context_t ctx, long min_nr, long nr, io_event* events, timespec* timeout) {
    return getevents(nr_io_getevents, ctx, min_nr, nr, events, timeout, nullptr);
}

int io_pgetevents(io_context_t ctx, long min_nr, long nr, io_event* events, timespec* timeout,
                  sigset_t* sigmask) {
    const SignalMask mask{reinterpret_cast<std::uintptr_t>(sigmask), _NSIG / 8};
    return getevents(nr_io_pgetevents, ctx, min_nr, nr, events, timeout, &mask);
}

int io_queue_init(int maxevents, io_context_t* ctxp) {
    if (maxevents <= 0) {
        return -EINVAL;
    }
    *ctxp = nullptr;
    return io_setup(maxevents, ctxp);
}

int io_queue_release(io_context_t ctx) { return io_destroy(ctx); }

// <libaio.h> does not declare this function, but libaio.so.1 exports it. As there, it asks for zero
// events and so does not wait.
extern "C" int io_queue_wait(io_context_t ctx, timespec* timeout);

int io_queue_wait(io_context_t ctx, timespec* timeout) {
    return io_getevents(ctx, 0, 0, nullptr, timeout);
}

int io_queue_run(io_context_t ctx) {
    timespec no_wait{};
    io_event event;
    int count;
    // Take one event at a time, because a callback may take events, too, for example by
    // io_queue_run.
    while ((count = io_getevents(ctx, 0, 1, &event, &no_wait)) == 1) {
        const auto callback = reinterpret_cast<io_callback_t>(event.data);
        callback(ctx, event.obj, static_cast<long>(event.res), static_cast<long>(event.res2));
    }
    return count;
}

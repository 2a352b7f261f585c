// SPDX-License-Identifier: Apache-2.0
// The table of the five libaio calls that the engines make. Tests replace calls in it to cause
// errors.
#pragma once

#include <libaio.h>

#include <ctime>

namespace libaio {

// Every call returns a negative errno on failure and leaves errno alone, as libaio's do.
struct Calls {
    int (*setup)(int max_events, io_context_t* context);
    int (*destroy)(io_context_t context);
    int (*submit)(io_context_t context, long count, iocb** requests);
    int (*cancel)(io_context_t context, iocb* request, io_event* event);
    int (*getevents)(io_context_t context, long min_nr, long nr, io_event* events,
                     timespec* timeout);
};

// All code above this layer calls libaio through this table. Only tests write to it.
extern Calls calls;

// Which libaio was chosen when the build was configured, as build_info() names it.
const char* implementation() noexcept;

}  // namespace libaio

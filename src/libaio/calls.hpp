// SPDX-License-Identifier: Apache-2.0
// The five calls of the libaio API that the engines make, in a table that a test can put faults
// into.
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

// What everything above this layer calls. Only tests write to it.
extern Calls calls;

// Which libaio was chosen at configure time, in words for build_info().
const char* implementation() noexcept;

}  // namespace libaio

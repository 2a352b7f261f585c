// SPDX-License-Identifier: Apache-2.0
// What an operation of OperationKind::call has besides what all have: the call, and what its
// pointers name.
#pragma once

#include <cstdint>
#include <memory>

#include "engine/call.hpp"
#include "python/buffer_view.hpp"
#include "python/refs.hpp"
#include "python/state.hpp"

namespace python {

struct CallDetails {
    // The awaited result of a call that has succeeded with `result`, 0 or more. A new reference, or
    // null with an exception set. Called at most once.
    using MakeResult = PyObject* (*)(const ModuleState& state, CallDetails& details,
                                     std::int64_t result);

    // What the call's pointers point into; before it, to go after it.
    Ref path;
    Ref other_path;
    Ref payload;
    BufferView buffer;

    // For errors: as they were given, or null.
    Ref filename;
    Ref other_filename;

    std::unique_ptr<engine::Call> call;
    MakeResult make_result = nullptr;
    const char* name = "";
    bool never_queues = false;  // it is submitted whatever the context's max_requests
};

}  // namespace python

// SPDX-License-Identifier: Apache-2.0
// The additional fields of an operation of OperationKind::call: the call, and the objects that the
// call's pointers point into.
#pragma once

#include <cstdint>
#include <memory>

#include "engine/call.hpp"
#include "python/buffer_view.hpp"
#include "python/refs.hpp"
#include "python/state.hpp"

namespace python {

struct CallDetails {
    // Makes the awaited result of a call that has succeeded with `result`, 0 or more. Returns a new
    // reference, or null with an exception set. Called at most once.
    using MakeResult = PyObject* (*)(const ModuleState& state, CallDetails& details,
                                     std::int64_t result);

    // The objects that the call's pointers point into. They are declared before `call`, so that
    // they are destroyed after it.
    Ref path;
    Ref other_path;
    Ref payload;
    BufferView buffer;

    // For error messages: the names as the program gave them, or null.
    Ref filename;
    Ref other_filename;

    std::unique_ptr<engine::Call> call;
    MakeResult make_result = nullptr;
    const char* name = "";
    bool never_queues = false;  // submitted even if the context's max_requests are reached
};

}  // namespace python

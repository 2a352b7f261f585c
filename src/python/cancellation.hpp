// SPDX-License-Identifier: Apache-2.0
// Cancelling operations in flight. Asking for a cancellation does not wait; the operation's
// completion tells how it went.
#pragma once

#include "python/context.hpp"
#include "python/operation.hpp"

namespace python {

// Asks the engine to cancel an operation that is in flight in this context. The engine must be
// open. Called with the context locked.
engine::CancelAnswer post_cancellation(ContextObject* context, OperationObject* operation) noexcept;

// AIOContext.cancel(): asks for the cancellation, and waits for the answer without the GIL. Returns
// null with an exception set if the operation is not in flight in this context, or if a signal
// handler raised one.
PyObject* cancel(ContextObject* context, OperationObject* operation);

}  // namespace python

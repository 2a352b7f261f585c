// SPDX-License-Identifier: Apache-2.0
// Cancelling operations in flight. To ask for it waits for nobody; the answer is the operation's
// completion.
#pragma once

#include "python/context.hpp"
#include "python/operation.hpp"

namespace python {

// Asks for the cancellation of an operation that is in flight in this context, whose engine is
// there. With the context locked.
engine::CancelAnswer post_cancellation(ContextObject* context, OperationObject* operation) noexcept;

// AIOContext.cancel: asks, and waits for the answer without the GIL. Null with an exception set if
// the operation is not in flight in this context, or a signal's handler raised one.
PyObject* cancel(ContextObject* context, OperationObject* operation);

}  // namespace python

// SPDX-License-Identifier: Apache-2.0
// linux_aio.EventFD.
#pragma once

#include "engine/unique_fd.hpp"
#include "python/refs.hpp"

namespace python {

struct EventFD {
    PyObject* weak_references = nullptr;  // first, for weak_references_offset
    engine::UniqueFd fd;
};
struct EventFDObject : PyObject, EventFD {};

PyTypeObject* add_eventfd_type(PyObject* module);

// Returns the eventfd's number, or -1 with a ValueError if it is closed.
int fileno_of(EventFDObject* eventfd);

}  // namespace python

// SPDX-License-Identifier: Apache-2.0
#include "python/bulk_callbacks.hpp"

namespace python {

bool run_tick(PyObject* tick, std::uint64_t done) {
    if (PyErr_CheckSignals() != 0) {
        return false;
    }
    if (tick == Py_None) {
        return true;
    }
    const auto count = Ref::steal(PyLong_FromUnsignedLongLong(done));
    return count && Ref::steal(PyObject_CallOneArg(tick, count.get()));
}

}  // namespace python

// SPDX-License-Identifier: Apache-2.0
#include "python/state.hpp"

namespace python {

PyTypeObject* add_type(PyObject* module, PyType_Spec* spec) {
    auto type = Ref::steal(PyType_FromModuleAndSpec(module, spec, nullptr));
    if (!type || PyModule_AddType(module, reinterpret_cast<PyTypeObject*>(type.get())) != 0) {
        return nullptr;
    }
    return reinterpret_cast<PyTypeObject*>(type.release());
}

}  // namespace python

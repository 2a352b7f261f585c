// SPDX-License-Identifier: Apache-2.0
// linux_aio._core.
#include <array>
#include <new>

#include "engine/engine.hpp"
#include "engine/reactors.hpp"
#include "libaio/calls.hpp"
#include "python/awaitable.hpp"
#include "python/bulk_load.hpp"
#include "python/closing.hpp"
#include "python/context_methods.hpp"
#include "python/dir_entry.hpp"
#include "python/direct_io.hpp"
#include "python/eventfd.hpp"
#include "python/file_base.hpp"
#include "python/file_call.hpp"
#include "python/file_functions.hpp"
#include "python/operation_methods.hpp"
#include "python/path_operations.hpp"
#include "python/refs.hpp"
#include "python/registry.hpp"
#include "python/stat_result.hpp"
#include "python/state.hpp"
#include "python/trio_loop.hpp"
#include "python/turn_budget.hpp"
#include "python/wake_future.hpp"
#include "python/watcher_methods.hpp"

namespace python {

namespace {

ModuleState& state_of_module(PyObject* module) {
    return *static_cast<ModuleState*>(PyModule_GetState(module));
}

PyDoc_STRVAR(build_info_doc,
             "build_info()\n--\n\n"
             "Return what was chosen when the extension was built, as a dict of str.\n\n"
             "'libaio' is 'built-in' or the system's library; 'uring' is liburing's version or\n"
             "'not built in'; 'version' is that of linux_aio.");

PyObject* build_info(PyObject* /*module*/, PyObject* /*unused*/) {
    return Py_BuildValue("{s:s,s:s,s:s}", "version", LINUX_AIO_VERSION, "libaio",
                         libaio::implementation(), "uring", engine::uring_implementation());
}

PyDoc_STRVAR(engines_doc,
             "engines()\n--\n\n"
             "Return what AIOContext(engine=...) can be here and now, as a dict of str: for each\n"
             "engine 'available', or the reason why not. Each is tried: io_setup(2),\n"
             "io_uring_setup(2).");

PyObject* engines(PyObject* /*module*/, PyObject* /*unused*/) {
    auto result = Ref::steal(PyDict_New());
    if (!result) {
        return nullptr;
    }
    for (const auto name : engine::engine_names) {
        std::array<char, 120> reason{"available"};
        if (const int error = engine::probe_engine(name); error != 0) {
            engine::explain_refusal(name, error, reason);
        }
        const auto key = Ref::steal(
            PyUnicode_FromStringAndSize(name.data(), static_cast<Py_ssize_t>(name.size())));
        const auto text = Ref::steal(PyUnicode_FromString(reason.data()));
        if (!key || !text || PyDict_SetItem(result.get(), key.get(), text.get()) != 0) {
            return nullptr;
        }
    }
    return result.release();
}

// For linux_aio's Python code: see trio_loop.hpp.
PyObject* in_trio(PyObject* module, PyObject* /*unused*/) {
    return PyBool_FromLong(is_in_trio(*static_cast<ModuleState*>(PyModule_GetState(module))) ? 1
                                                                                             : 0);
}

PyObject* ends_slice(PyObject* /*module*/, PyObject* /*unused*/) {
    auto& budget = TurnBudget::of_this_thread();
    const bool is_over = budget.is_slice_over(TurnBudget::work_of_python);
    if (is_over) {
        budget.end_slice();
    }
    return PyBool_FromLong(is_over ? 1 : 0);
}

PyMethodDef methods[] = {
    {"aligned_buffer", as_method(aligned_buffer), METH_FASTCALL | METH_KEYWORDS,
     aligned_buffer_doc},
    {"direct_alignment", direct_alignment, METH_O, direct_alignment_doc},
    {"build_info", build_info, METH_NOARGS, build_info_doc},
    {"_close_soon", close_in_background, METH_O, nullptr},
    {"_is_mapped_from_disk", is_mapped_from_disk, METH_O, nullptr},
    {"_new_bytes", new_bytes, METH_O, nullptr},
    {"_read_part_now", as_method(read_part_now), METH_FASTCALL, nullptr},
    {"_replace_file_now", as_method(replace_file_now), METH_FASTCALL, nullptr},
    {"_take_old_status", as_method(take_old_status), METH_FASTCALL, nullptr},
    {"engines", engines, METH_NOARGS, engines_doc},
    {"_in_trio", in_trio, METH_NOARGS, nullptr},
    {"_ends_slice", ends_slice, METH_NOARGS, nullptr},
    {},
};

int module_exec(PyObject* module) {
    auto& state = *new (PyModule_GetState(module)) ModuleState;
    if (!import_io_types(state.io)) {
        return -1;
    }
    state.eventfd_type = add_eventfd_type(module);
    if (state.eventfd_type == nullptr) {
        return -1;
    }
    state.operation_type = add_operation_type(module);
    if (state.operation_type == nullptr) {
        return -1;
    }
    state.context_type = add_context_type(module);
    if (state.context_type == nullptr) {
        return -1;
    }
    state.aligned_buffer_type = add_aligned_buffer_type(module);
    if (state.aligned_buffer_type == nullptr) {
        return -1;
    }
    state.dir_entry_type = make_dir_entry_type(module);
    if (state.dir_entry_type == nullptr ||
        PyModule_AddObjectRef(module, "_DirEntry",
                              reinterpret_cast<PyObject*>(state.dir_entry_type)) != 0 ||
        !find_stat_result_type(state.stat_result)) {
        return -1;
    }
    state.awaitable_type = make_awaitable_type(module);
    state.watcher_type = make_watcher_type(module);
    state.wake_future_type = make_wake_future_type(module);
    state.trio_wake_type = make_trio_wake_type(module);
    state.file_call_type = make_file_call_type(module);
    if (state.awaitable_type == nullptr || state.watcher_type == nullptr ||
        state.wake_future_type == nullptr || state.trio_wake_type == nullptr ||
        state.file_call_type == nullptr) {
        return -1;
    }
    state.file_base_type = add_file_base_type(module);
    if (state.file_base_type == nullptr) {
        return -1;
    }
    state.text_base_type = add_text_base_type(module);
    if (state.text_base_type == nullptr) {
        return -1;
    }
    // The table of libaio calls, so that the project's tests can inject faults.
    const auto calls =
        Ref::steal(PyCapsule_New(&libaio::calls, "linux_aio._core._libaio_calls", nullptr));
    if (!calls || PyModule_AddObjectRef(module, "_libaio_calls", calls.get()) != 0) {
        return -1;
    }
    if (!add_bulk_functions(module)) {
        return -1;
    }
    if (!sweep_before_collections(module)) {
        return -1;
    }
    return PyModule_AddStringConstant(module, "__version__", LINUX_AIO_VERSION);
}

int module_traverse(PyObject* module, visitproc visit, void* arg) {
    const auto& state = state_of_module(module);
    Py_VISIT(state.eventfd_type);
    Py_VISIT(state.operation_type);
    Py_VISIT(state.context_type);
    Py_VISIT(state.aligned_buffer_type);
    Py_VISIT(state.dir_entry_type);
    Py_VISIT(state.stat_result.type.get());
    Py_VISIT(state.awaitable_type);
    Py_VISIT(state.file_base_type);
    Py_VISIT(state.file_call_type);
    Py_VISIT(state.text_base_type);
    Py_VISIT(state.watcher_type);
    Py_VISIT(state.wake_future_type);
    Py_VISIT(state.trio_wake_type);
    Py_VISIT(state.io.file.get());
    Py_VISIT(state.io.text.get());
    Py_VISIT(state.io.buffered.get());
    return 0;
}

int module_clear(PyObject* module) {
    auto& state = state_of_module(module);
    state.free_operations.clear();
    state.free_awaitables.clear();
    state.free_file_calls.clear();
    state.free_wake_futures.clear();
    state.free_trio_wakes.clear();
    state.aligned_pool.clear();
    Py_CLEAR(state.eventfd_type);
    Py_CLEAR(state.operation_type);
    Py_CLEAR(state.context_type);
    Py_CLEAR(state.aligned_buffer_type);
    Py_CLEAR(state.dir_entry_type);
    state.stat_result.type.reset();
    Py_CLEAR(state.awaitable_type);
    Py_CLEAR(state.file_base_type);
    Py_CLEAR(state.file_call_type);
    Py_CLEAR(state.text_base_type);
    Py_CLEAR(state.watcher_type);
    Py_CLEAR(state.wake_future_type);
    Py_CLEAR(state.trio_wake_type);
    state.io = {};
    state.asyncio_is_imported = false;
    state.asyncio = {};
    state.trio_is_found = false;
    state.trio = {};
    return 0;
}

void module_free(void* module) {
    auto* object = static_cast<PyObject*>(module);
    if (PyModule_GetState(object) != nullptr) {
        module_clear(object);
        state_of_module(object).~ModuleState();
    }
}

PyModuleDef_Slot slots[] = {
    {Py_mod_exec, as_slot(module_exec)},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#if PY_VERSION_HEX >= 0x030D0000
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, nullptr},
};

PyModuleDef definition{
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "linux_aio._core",
    .m_doc = "Linux asynchronous I/O: the part in C++. Import linux_aio instead.",
    .m_size = sizeof(ModuleState),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

}  // namespace
}  // namespace python

PyMODINIT_FUNC PyInit__core() { return PyModuleDef_Init(&python::definition); }

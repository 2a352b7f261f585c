// SPDX-License-Identifier: Apache-2.0
// The extension module _faults, for the Python tests and never installed: faulty_libaio.hpp for
// them, and allocations of Python's that fail. It finds the table of libaio calls through a capsule
// of linux_aio._core.
#include <Python.h>

#include <atomic>
#include <cstddef>

#include "faulty_libaio.hpp"

namespace {

using faulty_libaio::Fault;

// With a ValueError if there is no such call.
std::optional<faulty_libaio::Call> parse_call(const char* name) {
    const auto call = faulty_libaio::call_named(name);
    if (!call) {
        PyErr_Format(PyExc_ValueError, "libaio has no call %s", name);
    }
    return call;
}

PyObject* inject(PyObject* /*module*/, PyObject* arguments, PyObject* keywords) {
    static const char* const names[] = {"call",  "error",  "at_most", "after",
                                        "times", "signal", nullptr};
    const char* name = nullptr;
    Fault fault;
    if (PyArg_ParseTupleAndKeywords(arguments, keywords, "s|iiiii", const_cast<char**>(names),
                                    &name, &fault.error, &fault.at_most, &fault.after, &fault.times,
                                    &fault.signal) == 0) {
        return nullptr;
    }
    const auto call = parse_call(name);
    if (!call) {
        return nullptr;
    }
    faulty_libaio::inject(*call, fault);
    Py_RETURN_NONE;
}

PyObject* clear(PyObject* /*module*/, PyObject* /*unused*/) {
    faulty_libaio::clear();
    Py_RETURN_NONE;
}

PyObject* count(PyObject* /*module*/, PyObject* name) {
    const char* text = PyUnicode_AsUTF8(name);
    const auto call = text != nullptr ? parse_call(text) : std::nullopt;
    return call ? PyLong_FromLong(faulty_libaio::count(*call)) : nullptr;
}

// --- allocations

// Which allocations fail: those of one thread, and of these the first ones after some that don't.
struct Refusals {
    std::atomic<unsigned long> thread = 0;  // whose; 0: nobody's
    int after = 0;
    int times = 0;
    int refused = 0;
};

Refusals refusals;

bool is_refused() noexcept {
    if (refusals.thread.load(std::memory_order_relaxed) != PyThread_get_thread_ident()) {
        return false;
    }
    if (refusals.after > 0) {
        --refusals.after;
        return false;
    }
    if (refusals.times == 0) {
        return false;
    }
    --refusals.times;
    ++refusals.refused;
    return true;
}

// Puts itself before the allocator of one of Python's domains, for good.
template <PyMemAllocatorDomain domain>
class Allocator {
public:
    static void install() {
        if (real.malloc == nullptr) {
            PyMem_GetAllocator(domain, &real);
            PyMemAllocatorEx ours{.ctx = nullptr,
                                  .malloc = allocate,
                                  .calloc = allocate_zeroed,
                                  .realloc = reallocate,
                                  .free = free};
            PyMem_SetAllocator(domain, &ours);
        }
    }

private:
    static void* allocate(void* /*context*/, std::size_t size) {
        return is_refused() ? nullptr : real.malloc(real.ctx, size);
    }
    static void* allocate_zeroed(void* /*context*/, std::size_t count, std::size_t size) {
        return is_refused() ? nullptr : real.calloc(real.ctx, count, size);
    }
    static void* reallocate(void* /*context*/, void* memory, std::size_t size) {
        return is_refused() ? nullptr : real.realloc(real.ctx, memory, size);
    }
    static void free(void* /*context*/, void* memory) { real.free(real.ctx, memory); }

    static inline PyMemAllocatorEx real{};
};

PyObject* refuse_allocations(PyObject* /*module*/, PyObject* arguments) {
    int after = 0;
    int times = 0;
    if (PyArg_ParseTuple(arguments, "ii", &after, &times) == 0) {
        return nullptr;
    }
    Allocator<PYMEM_DOMAIN_MEM>::install();
    Allocator<PYMEM_DOMAIN_OBJ>::install();
    refusals.after = after;
    refusals.times = times;
    refusals.refused = 0;
    refusals.thread = PyThread_get_thread_ident();
    Py_RETURN_NONE;
}

PyObject* allow_allocations(PyObject* /*module*/, PyObject* /*unused*/) {
    refusals.thread = 0;
    return PyLong_FromLong(refusals.refused);
}

// --- the module

int module_exec(PyObject* /*module*/) {
    auto* calls = static_cast<libaio::Calls*>(PyCapsule_Import("linux_aio._core._libaio_calls", 0));
    if (calls == nullptr) {
        return -1;
    }
    faulty_libaio::install(*calls);
    return 0;
}

// CPython's tables hold functions of one type, whatever their flags say they are.
template <class Function>
PyCFunction as_method(Function* function) noexcept {
    return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

PyMethodDef methods[] = {
    {"inject", as_method(inject), METH_VARARGS | METH_KEYWORDS, nullptr},
    {"clear", clear, METH_NOARGS, nullptr},
    {"count", count, METH_O, nullptr},
    {"refuse_allocations", refuse_allocations, METH_VARARGS, nullptr},
    {"allow_allocations", allow_allocations, METH_NOARGS, nullptr},
    {},
};

PyModuleDef_Slot slots[] = {
    {Py_mod_exec, reinterpret_cast<void*>(module_exec)},
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, nullptr},
};

PyModuleDef definition{
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "_faults",
    .m_doc =
        "Faults in the libaio calls of linux_aio._core, and in allocations; see support.faults.",
    .m_methods = methods,
    .m_slots = slots,
};

}  // namespace

PyMODINIT_FUNC PyInit__faults() { return PyModuleDef_Init(&definition); }

// SPDX-License-Identifier: Apache-2.0
#include "python/trio_loop.hpp"

#include <array>
#include <cmath>
#include <cstddef>
#include <new>
#include <utility>

#include "python/asyncio_loop.hpp"
#include "python/exceptions.hpp"
#include "python/loop_exceptions.hpp"

namespace python {

struct TrioWake {
    enum class WaitState : std::uint8_t { pending, woken, aborted };

    WaitState wait = WaitState::pending;
    Ref task;
    Ref suspended;  // a cycle, until the wait is over
    bool (*cancel_wait)(PyObject* suspended) noexcept = nullptr;
    Ref raise_cancel;  // from Trio, if the task was cancelled: raises the exception
};
struct TrioWakeObject : PyObject, TrioWake {};

namespace {

// --- what wakes a task

TrioWakeObject* cast(PyObject* self) { return static_cast<TrioWakeObject*>(self); }

// Trio calls this at most once: when the waiting task is cancelled or interrupted.
PyObject* trio_wake_call(PyObject* object, PyObject* arguments, PyObject* /*keywords*/) {
    auto* self = cast(object);
    auto& api = state_of(object).trio;
    if (PyTuple_GET_SIZE(arguments) != 1) {
        PyErr_SetString(PyExc_TypeError, "expected what raises the exception");
        return nullptr;
    }
    const auto held = Ref::borrow(self->suspended.get());
    if (self->wait != TrioWake::WaitState::pending || !held) {
        return api.abort_failed.new_ref();
    }
    self->raise_cancel = Ref::borrow(PyTuple_GET_ITEM(arguments, 0));
    if (!self->cancel_wait(held.get())) {
        return api.abort_failed.new_ref();
    }
    self->wait = TrioWake::WaitState::aborted;
    self->suspended.reset();
    return api.abort_succeeded.new_ref();
}

int trio_wake_traverse(PyObject* object, visitproc visit, void* arg) {
    const auto* self = cast(object);
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->task.get());
    Py_VISIT(self->suspended.get());
    Py_VISIT(self->raise_cancel.get());
    return 0;
}

int trio_wake_clear(PyObject* object) {
    auto* self = cast(object);
    self->task.reset();
    self->suspended.reset();
    self->raise_cancel.reset();
    return 0;
}

void trio_wake_dealloc(PyObject* object) {
    PyObject_GC_UnTrack(object);
    auto* state = state_or_null(object);
    FreeTrioWakes::deallocate(state != nullptr ? &state->free_trio_wakes : nullptr, cast(object));
}

PyType_Slot slots[] = {
    {Py_tp_call, as_slot(trio_wake_call)},
    {Py_tp_dealloc, as_slot(trio_wake_dealloc)},
    {Py_tp_traverse, as_slot(trio_wake_traverse)},
    {Py_tp_clear, as_slot(trio_wake_clear)},
    {Py_tp_doc, const_cast<char*>("What Trio calls to abort the wait for an operation.")},
    {0, nullptr},
};

PyType_Spec spec{
    .name = "linux_aio._core._TrioWake",
    .basicsize = sizeof(TrioWakeObject),
    .itemsize = 0,
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};

// --- the run

// Whether the attribute of a Trio Run is true. Sets no exception.
bool is_true(PyObject* run, const char* name) noexcept {
    const KeptException kept;
    const auto value = Ref::steal(PyObject_GetAttrString(run, name));
    drop_loops_exception();
    return value.get() == Py_True;
}

class TrioLoop final : public LoopKind {
public:
    Ref find_running(ModuleState& state) const override {
        return Ref::steal(PyObject_CallNoArgs(state.trio.current_run.get()));
    }

    bool runs_here(ModuleState& state, PyObject* run) const noexcept override {
        if (!is_in_trio(state)) {
            return false;
        }
        const auto running = Ref::steal(PyObject_CallNoArgs(state.trio.current_trio_token.get()));
        const auto token = Ref::steal(PyObject_GetAttr(run, state.trio.token.get()));
        drop_loops_exception();
        return running && running.get() == token.get();
    }

    bool may_touch(ModuleState& state, PyObject* run) const noexcept override {
        return state.trio_is_found.load(std::memory_order_acquire) &&
               (runs_here(state, run) || is_true(run, "closed"));
    }

    bool is_closed(PyObject* run) const noexcept override { return is_true(run, "closed"); }

    Ref public_loop(PyObject* /*run*/) const noexcept override { return Ref::borrow(Py_None); }

    bool add_reader(PyObject* run, int fd, PyObject* callback) const override {
        return static_cast<bool>(
            Ref::steal(PyObject_CallMethod(run, "add_reader", "iO", fd, callback)));
    }

    void remove_reader(PyObject* run, int fd) const noexcept override {
        Ref::steal(PyObject_CallMethod(run, "remove_reader", "i", fd));
        drop_loops_exception();
    }

    // Never used: the system task wakes for an eventfd sooner than for anything else.
    bool call_soon(ModuleState& /*state*/, PyObject* /*run*/, PyObject* /*callback*/,
                   PyObject* /*argument*/) const override {
        return false;
    }

    // Tries private names of Trio first: its public function takes as long as all other work of a
    // cached read.
    bool is_cancelled(ModuleState& state) const noexcept override {
        const KeptException kept;
        const auto& api = state.trio;
        const auto task = Ref::steal(PyObject_CallNoArgs(api.current_task.get()));
        if (!task) {
            drop_loops_exception();
            return false;  // in a callback: awaiting there fails in another way
        }
        const auto status = Ref::steal(PyObject_GetAttr(task.get(), api.cancel_status.get()));
        const auto answer = Ref::steal(
            status ? PyObject_GetAttr(status.get(), api.effectively_cancelled.get()) : nullptr);
        if (answer && PyBool_Check(answer.get())) {
            return answer.get() == Py_True;
        }
        drop_loops_exception();
        const auto deadline = Ref::steal(PyObject_CallNoArgs(api.current_effective_deadline.get()));
        const double seconds = deadline ? PyFloat_AsDouble(deadline.get()) : 0;
        drop_loops_exception();
        return seconds == -HUGE_VAL;
    }

    Ref make_wake(ModuleState& state, PyObject* /*run*/, Suspended suspended) const override {
        auto task = Ref::steal(PyObject_CallNoArgs(state.trio.current_task.get()));
        auto* wake = task ? state.free_trio_wakes.allocate(state.trio_wake_type) : nullptr;
        if (wake == nullptr) {
            return {};
        }
        PyObject_GC_Track(wake);
        wake->task = std::move(task);
        wake->suspended = Ref::borrow(suspended.object);
        wake->cancel_wait = suspended.cancel_wait;
        return Ref::steal(wake);
    }

    PyObject* suspension(ModuleState& state, PyObject* wake) const override {
        return PyObject_CallOneArg(state.trio.make_suspension.get(), wake);
    }

    Ref take_cancellation(PyObject* wake) const override {
        auto* self = cast(wake);
        self->suspended.reset();
        const auto raise_cancel = std::move(self->raise_cancel);
        if (!raise_cancel) {
            return {};
        }
        const auto result = Ref::steal(PyObject_CallNoArgs(raise_cancel.get()));
        if (result) {
            PyErr_SetString(PyExc_SystemError, "Trio cancelled with no exception");
        }
        return take_exception();
    }

    // What raises the exception is not called: that would be the end of a KeyboardInterrupt, which
    // Trio delivers once.
    bool leave_cancellation(PyObject* wake) const noexcept override {
        auto* self = cast(wake);
        if (self->wait == TrioWake::WaitState::aborted) {
            return false;
        }
        self->suspended.reset();
        self->raise_cancel.reset();
        return true;
    }

    bool has_cancelled(PyObject* /*wake*/) const noexcept override { return false; }

    // Trio aborts a wait only once, so nothing is to be shielded.
    Ref begin_shield(ModuleState& /*state*/) const noexcept override { return {}; }
    void end_shield(PyObject* /*shield*/) const noexcept override {}

    void wake_soon(PyObject* wake) const noexcept override {
        auto* self = cast(wake);
        if (self->wait != TrioWake::WaitState::pending) {
            return;
        }
        self->wait = TrioWake::WaitState::woken;
        const auto task = std::move(self->task);
        const KeptException kept;
        if (!Ref::steal(PyObject_CallOneArg(state_of(wake).trio.reschedule.get(), task.get()))) {
            PyErr_WriteUnraisable(task.get());
        }
    }

    // Trio does not allow to reschedule a task that is not suspended.
    void wake_waiter(PyObject* wake) const noexcept override {
        auto* self = cast(wake);
        if (self->wait != TrioWake::WaitState::pending) {
            return;
        }
        const KeptException kept;
        const auto running =
            Ref::steal(PyObject_CallNoArgs(state_of(wake).trio.current_task.get()));
        drop_loops_exception();
        if (running && running.get() != self->task.get()) {
            wake_soon(wake);
        } else {
            self->wait = TrioWake::WaitState::woken;
        }
    }

    bool steps_all_tasks() const noexcept override { return true; }
    bool may_wake_now(ModuleState& /*state*/, PyObject* /*run*/) const noexcept override {
        return false;
    }
    bool wake_now(PyObject* wake) const override {
        wake_soon(wake);
        return true;
    }
    Ref contextvars_of_wake(PyObject* /*wake*/) const noexcept override { return {}; }
};

// False with an exception set.
bool load(TrioApi& api) {
    const auto module = Ref::steal(PyImport_ImportModule("linux_aio._trio"));
    const auto found =
        Ref::steal(module ? PyObject_CallMethod(module.get(), "api", nullptr) : nullptr);
    const std::array places{&api.sniffio_thread_local,
                            &api.in_trio_run,
                            &api.is_within_asyncio,
                            &api.current_run,
                            &api.current_trio_token,
                            &api.current_task,
                            &api.current_effective_deadline,
                            &api.make_suspension,
                            &api.reschedule,
                            &api.abort_succeeded,
                            &api.abort_failed};
    if (!found || PyTuple_GET_SIZE(found.get()) != static_cast<Py_ssize_t>(places.size())) {
        return false;
    }
    for (std::size_t i = 0; i < places.size(); ++i) {
        *places[i] = Ref::borrow(PyTuple_GET_ITEM(found.get(), static_cast<Py_ssize_t>(i)));
    }
    const std::array<std::pair<Ref*, const char*>, 5> names{
        {{&api.name, "name"},
         {&api.trio, "trio"},
         {&api.token, "token"},
         {&api.cancel_status, "_cancel_status"},
         {&api.effectively_cancelled, "effectively_cancelled"}}};
    for (const auto& [place, name] : names) {
        *place = Ref::steal(PyUnicode_InternFromString(name));
        if (!*place) {
            return false;
        }
    }
    return true;
}

}  // namespace

const LoopKind& trio_loop() noexcept {
    static const TrioLoop kind;
    return kind;
}

PyTypeObject* make_trio_wake_type(PyObject* module) {
    return reinterpret_cast<PyTypeObject*>(PyType_FromModuleAndSpec(module, &spec, nullptr));
}

bool look_for_trio(ModuleState& state) noexcept {
    const KeptException kept;
    const auto modules = PyDict_GET_SIZE(PyImport_GetModuleDict());
    const auto name = Ref::steal(PyUnicode_InternFromString("trio"));
    const auto trio = Ref::steal(name ? PyImport_GetModule(name.get()) : nullptr);
    TrioApi api;
    // If another thread is importing Trio now, sys.modules will soon have more modules: look again
    // then.
    const bool is_loaded = trio && load(api);
    drop_loops_exception();
    state.modules_at_last_look.store(modules, std::memory_order_relaxed);
    if (!is_loaded) {
        return false;
    }
    const std::lock_guard lock(state.mutex);
    if (!state.trio_is_found.load(std::memory_order_relaxed)) {
        std::swap(state.trio, api);
        state.trio_is_found.store(true, std::memory_order_release);
    }
    return true;
}

bool is_in_found_trio(ModuleState& state) noexcept {
    const KeptException kept;
    const auto& api = state.trio;
    bool is_in_run = false;
    if (api.sniffio_thread_local.get() != Py_None) {
        const auto name =
            Ref::steal(PyObject_GetAttr(api.sniffio_thread_local.get(), api.name.get()));
        is_in_run = name && (name.get() == api.trio.get() ||
                             PyObject_RichCompareBool(name.get(), api.trio.get(), Py_EQ) == 1);
    } else {
        const auto answer = Ref::steal(PyObject_CallNoArgs(api.in_trio_run.get()));
        is_in_run = answer.get() == Py_True;
    }
    // A task of each may run the other. A loop of asyncio's that hosts Trio runs no task meanwhile.
    if (is_in_run && is_in_asyncio_task(state)) {
        const auto answer = Ref::steal(PyObject_CallNoArgs(api.is_within_asyncio.get()));
        is_in_run = answer.get() == Py_True;
    }
    drop_loops_exception();
    return is_in_run;
}

}  // namespace python

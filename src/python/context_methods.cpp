// SPDX-License-Identifier: Apache-2.0
#include "python/context_methods.hpp"

#include <structmember.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <new>
#include <string_view>
#include <utility>

#include "engine/queue_disposal.hpp"
#include "python/arguments.hpp"
#include "python/awaitable.hpp"
#include "python/cancellation.hpp"
#include "python/closing.hpp"
#include "python/completion.hpp"
#include "python/context.hpp"
#include "python/context_lock.hpp"
#include "python/errors.hpp"
#include "python/exceptions.hpp"
#include "python/gil.hpp"
#include "python/loop_binding.hpp"
#include "python/operation_factories.hpp"
#include "python/operation_lock.hpp"
#include "python/path_operations.hpp"
#include "python/registry.hpp"
#include "python/running_loop.hpp"
#include "python/state.hpp"
#include "python/submission.hpp"
#include "python/whole_file_operations.hpp"

namespace python {
namespace {

ContextObject* cast(PyObject* self) { return static_cast<ContextObject*>(self); }

// --- making one

constexpr unsigned default_max_requests = 128;
constexpr std::array<const char*, 2> new_parameters{"max_requests", "engine"};
constexpr Signature new_signature{"AIOContext", new_parameters, 0};

// Parses the argument `engine`. If it is left out or None, takes the engine that the environment
// names, or else our own choice. Returns false with an exception set.
bool parse_engine(PyObject* object, std::string_view& name) {
    if (object == nullptr || object == Py_None) {
        const char* setting = std::getenv("LINUX_AIO_ENGINE");
        name = setting != nullptr && *setting != '\0' ? setting : engine::default_engine;
        return true;
    }
    if (!PyUnicode_Check(object)) {
        PyErr_Format(PyExc_TypeError, "engine must be a str or None, not %.200s",
                     Py_TYPE(object)->tp_name);
        return false;
    }
    Py_ssize_t length = 0;
    const char* text = PyUnicode_AsUTF8AndSize(object, &length);
    name = {text, text == nullptr ? 0 : static_cast<std::size_t>(length)};
    return text != nullptr;
}

// Null with an exception set.
std::unique_ptr<engine::Engine> open_engine(std::string_view name, unsigned max_requests) {
    int error = 0;
    const bool others_end = engine::is_destroying_queues();
    auto engine = engine::open_engine(name, max_requests, error, engine::AtLimit::fail);
    if (error == EAGAIN && others_end) {
        const GilRelease release;
        engine = engine::open_engine(name, max_requests, error, engine::AtLimit::wait);
    }
    if (error != 0) {
        raise_setup_error(name, error, max_requests);
        return nullptr;
    }
    if (engine == nullptr) {
        const auto text = Ref::steal(
            PyUnicode_DecodeUTF8(name.data(), static_cast<Py_ssize_t>(name.size()), "replace"));
        if (text) {
            PyErr_Format(PyExc_ValueError,
                         "unknown engine %R: there are 'auto', 'aio', 'uring' and 'threads'",
                         text.get());
        }
    }
    return engine;
}

PyObject* context_new(PyTypeObject* type, PyObject* arguments, PyObject* keywords) {
    if (PyTuple_GET_SIZE(arguments) > 1) {
        PyErr_Format(PyExc_TypeError,
                     "AIOContext() takes at most 1 positional argument (%zd given)",
                     PyTuple_GET_SIZE(arguments));
        return nullptr;
    }
    std::array<PyObject*, new_parameters.size()> values{};
    if (!bind_arguments(new_signature, arguments, keywords, values)) {
        return nullptr;
    }
    std::int64_t max_requests = default_max_requests;
    if (values[0] != nullptr) {
        const auto value = to_integer(values[0], "max_requests", 1, INT_MAX);
        if (!value) {
            return nullptr;
        }
        max_requests = *value;
    }
    std::string_view engine_name;
    if (!parse_engine(values[1], engine_name)) {
        return nullptr;
    }
    sweep_registry(state_of(type));
    auto object = Ref::steal(type->tp_alloc(type, 0));
    if (!object) {
        return nullptr;
    }
    auto* self = cast(object.get());
    new (static_cast<Context*>(self)) Context;
    auto eventfd = engine::make_clofork_eventfd(EFD_CLOEXEC | EFD_NONBLOCK);
    if (!eventfd.is_open()) {
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    auto engine = open_engine(engine_name, static_cast<unsigned>(max_requests));
    if (engine == nullptr) {
        return nullptr;
    }
    self->open(std::move(engine), std::move(eventfd), static_cast<std::size_t>(max_requests));
    enter_registry(state_of(type), self);
    return object.release();
}

// --- its end

void context_finalize(PyObject* object) {
    const KeptException kept;
    const ContextLock lock(cast(object));  // a sweep may have found it
    abandon(cast(object));
}

int context_traverse(PyObject* object, visitproc visit, void* arg) {
    Py_VISIT(Py_TYPE(object));
    auto* self = cast(object);
    Py_VISIT(self->binding.loop.get());
    Py_VISIT(self->binding.watcher.get());
    for (auto* operation = self->collectable.front(); operation != nullptr;
         operation = OperationList::next(operation)) {
        if (operation->listing == Listing::owned) {
            Py_VISIT(operation);
        }
    }
    // While operations are in flight, the kernel uses their memory (see registry.hpp), except in a
    // child process. For a poll, the kernel uses no memory, and a poll may never end by itself: so
    // the collector sees polls until the context is closed.
    for (auto* operation = self->in_flight.front(); operation != nullptr;
         operation = OperationList::next(operation)) {
        if (self->is_inherited() ||
            (operation->kind == OperationKind::poll && !self->is_closing())) {
            Py_VISIT(operation);
        }
    }
    return 0;
}

int context_clear(PyObject* object) {
    auto* self = cast(object);
    const ContextLock lock(cast(object));
    while (auto* operation = self->collectable.front()) {
        const auto held = operation->listing == Listing::owned ? Ref::borrow(operation) : Ref();
        forget(self, operation);
    }
    return 0;
}

void context_dealloc(PyObject* object) {
    auto* self = cast(object);
    // Leave the registry first: all that follows may run code that makes a context, which sweeps
    // the registry.
    if (auto* state = state_or_null(object); state != nullptr) {
        leave_registry(*state, self);
    }
    hide_from_loop(self);
    if (PyObject_CallFinalizerFromDealloc(object) < 0) {
        return;  // a handler of the warning has kept the context
    }
    PyObject_GC_UnTrack(object);
    if (self->weak_references != nullptr) {
        PyObject_ClearWeakRefs(object);
    }
    context_clear(object);
    unbind(self);
    std::destroy_at(static_cast<Context*>(self));
    auto* type = Py_TYPE(object);
    type->tp_free(object);
    Py_DECREF(type);
}

PyDoc_STRVAR(
    close_doc,
    "close($self, /)\n--\n\n"
    "Cancel what can be cancelled, wait for the rest without the GIL, and free the queue.\n\n"
    "No result is lost: operations keep theirs. Closing twice is harmless; any other use\n"
    "of a closed context is a ValueError. If a signal's handler raises while close waits,\n"
    "close can be called again to go on. See io_destroy(2).");

PyObject* context_close(PyObject* object, PyObject* /*unused*/) {
    if (!close(cast(object))) {
        return nullptr;
    }
    Py_RETURN_NONE;
}

PyObject* context_enter(PyObject* object, PyObject* /*unused*/) {
    const ContextLock lock(cast(object));
    return check_usable(cast(object)) ? Py_NewRef(object) : nullptr;
}

PyObject* context_exit(PyObject* object, PyObject* /*arguments*/) {
    return context_close(object, nullptr);
}

PyDoc_STRVAR(
    aclose_doc,
    "aclose($self, /)\n--\n\n"
    "Close, without blocking the event loop: what is queued fails with ValueError, what is\n"
    "in flight is cancelled or awaited. A coroutine.");

// Calls a function of linux_aio/_asyncio.py, for what is better written in Python.
PyObject* call_python(const char* function, PyObject* object) {
    const auto module = Ref::steal(PyImport_ImportModule("linux_aio._asyncio"));
    return module ? PyObject_CallMethod(module.get(), function, "O", object) : nullptr;
}

PyObject* context_aclose(PyObject* object, PyObject* /*unused*/) {
    return call_python("aclose", object);
}

PyObject* context_aenter(PyObject* object, PyObject* /*unused*/) {
    const auto self = Ref::steal(context_enter(object, nullptr));
    return self ? call_python("aenter", object) : nullptr;
}

PyObject* context_aexit(PyObject* object, PyObject* /*arguments*/) {
    return context_aclose(object, nullptr);
}

PyObject* context_start_closing(PyObject* object, PyObject* /*unused*/) {
    const ContextLock lock(cast(object));
    start_closing(cast(object));
    if (!closes_at_once(cast(object))) {
        reap(cast(object));
    }
    return PyBool_FromLong(closes_at_once(cast(object)) ? 1 : 0);
}

PyObject* context_lift_limit(PyObject* object, PyObject* /*unused*/) {
    const ContextLock lock(cast(object));
    cast(object)->lift_limit();
    return Py_NewRef(Py_None);
}

PyObject* context_is_inherited(PyObject* object, PyObject* /*unused*/) {
    return PyBool_FromLong(cast(object)->is_inherited() ? 1 : 0);
}

PyObject* context_check_process(PyObject* object, PyObject* /*unused*/) {
    return check_process(cast(object)) ? Py_NewRef(Py_None) : nullptr;
}

// --- operations

PyDoc_STRVAR(
    submit_doc,
    "submit($self, /, *operations)\n--\n\n"
    "Submit operations, in order, and return how many the kernel took.\n\n"
    "It takes fewer than given if the queue becomes full, or one in the middle is refused:\n"
    "those left over are untouched and can be submitted again. If not even the first is\n"
    "taken, its OSError is raised; BlockingIOError (EAGAIN) for a full queue. ValueError,\n"
    "and nothing is submitted, if one is in flight already, comes twice, or names a closed\n"
    "file or EventFD.\n\n"
    "Operations complete before submit returns or later, whatever the engine: ask done, or\n"
    "wait in getevents. With the engine 'auto' submit never waits for a disk. With 'aio' the\n"
    "kernel carries out reads and writes without O_DIRECT inside submit, which then waits for\n"
    "the disk without the GIL. See io_submit(2).");

PyObject* context_submit(PyObject* object, PyObject* const* arguments, Py_ssize_t count) {
    auto* type = state_of(object).operation_type;
    for (Py_ssize_t i = 0; i < count; ++i) {
        if (!Py_IS_TYPE(arguments[i], type)) {
            PyErr_Format(PyExc_TypeError, "operations must be AIOOperation, not %.200s",
                         Py_TYPE(arguments[i])->tp_name);
            return nullptr;
        }
    }
    const auto taken = submit(cast(object), {arguments, static_cast<std::size_t>(count)}, nullptr);
    return taken < 0 ? nullptr : PyLong_FromSsize_t(taken);
}

// Implements AIOContext.read() and the like: makes an operation, as AIOOperation's class method of
// that name does, and returns an awaitable for it.
template <auto make_operation, const char* name>
PyObject* make_awaited(PyObject* object, PyObject* const* arguments, Py_ssize_t count,
                       PyObject* names) {
    auto* type = reinterpret_cast<PyObject*>(state_of(object).operation_type);
    const auto operation = Ref::steal(make_operation(type, arguments, count, names));
    return operation ? make_awaitable(cast(object), static_cast<OperationObject*>(operation.get()),
                                      true, name)
                     : nullptr;
}

constexpr char read_name[] = "AIOContext.read";
constexpr char readinto_name[] = "AIOContext.readinto";
constexpr char readv_name[] = "AIOContext.readv";
constexpr char write_name[] = "AIOContext.write";
constexpr char writev_name[] = "AIOContext.writev";
constexpr char fsync_name[] = "AIOContext.fsync";
constexpr char fdsync_name[] = "AIOContext.fdsync";
constexpr char poll_name[] = "AIOContext.poll";

PyDoc_STRVAR(
    read_doc,
    "read($self, /, nbytes, fd, offset=0, priority=0, flags=0)\n"
    "--\n\n"
    "Await a read of up to nbytes bytes from byte offset of the file: see preadv2(2).\n\n"
    "Returns bytes, as long as what was read: b'' at the end of the file. A cancelled task\n"
    "ends at once; what the kernel still reads is dropped.\n\n"
    "Arguments and errors are those of AIOOperation.read. Beyond max_requests, awaits\n"
    "queue in order. What is returned is a coroutine: it can be awaited once.");

PyDoc_STRVAR(
    readinto_doc,
    "readinto($self, /, buffer, fd, offset=0, priority=0, flags=0)\n"
    "--\n\n"
    "Await a read from byte offset of the file into a writable buffer: see preadv2(2).\n\n"
    "Returns how many bytes were read, 0 at the end of the file. Nothing is copied. A cancelled\n"
    "task ends when the kernel no longer writes to the buffer.\n\n"
    "Arguments and errors are those of AIOOperation.readinto. Beyond max_requests, awaits\n"
    "queue in order. What is returned is a coroutine: it can be awaited once.");

PyDoc_STRVAR(
    readv_doc,
    "readv($self, /, buffers, fd, offset=0, priority=0, flags=0)\n"
    "--\n\n"
    "Await a read from byte offset of the file into several buffers: see preadv2(2).\n\n"
    "Returns how many bytes were read in all. Each buffer is filled before the next. A cancelled\n"
    "task ends when the kernel no longer writes to the buffers.\n\n"
    "Arguments and errors are those of AIOOperation.readv. Beyond max_requests, awaits\n"
    "queue in order. What is returned is a coroutine: it can be awaited once.");

PyDoc_STRVAR(
    write_doc,
    "write($self, /, payload, fd, offset=0, priority=0, flags=0)\n"
    "--\n\n"
    "Await a write of the payload, any buffer, at byte offset of the file: see pwritev2(2).\n\n"
    "Returns how many bytes were written, which may be fewer than the payload has. A cancelled\n"
    "task ends at once if the payload is bytes, else when the kernel no longer reads it; the\n"
    "write may be made all the same.\n\n"
    "Arguments and errors are those of AIOOperation.write. Beyond max_requests, awaits\n"
    "queue in order. What is returned is a coroutine: it can be awaited once.");

PyDoc_STRVAR(
    writev_doc,
    "writev($self, /, buffers, fd, offset=0, priority=0, flags=0)\n"
    "--\n\n"
    "Await a write of several buffers, one after the other, at byte offset: see pwritev2(2).\n\n"
    "Returns how many bytes were written in all. A cancelled task ends at once if all are bytes,\n"
    "else when the kernel no longer reads them; the write may be made all the same.\n\n"
    "Arguments and errors are those of AIOOperation.writev. Beyond max_requests, awaits\n"
    "queue in order. What is returned is a coroutine: it can be awaited once.");

PyDoc_STRVAR(
    fsync_doc,
    "fsync($self, /, fd)\n"
    "--\n\n"
    "Await that what was written to the file, and its metadata, is on the disk: see fsync(2).\n\n"
    "Returns None. It covers writes that have completed, not those in flight.\n\n"
    "Arguments and errors are those of AIOOperation.fsync. Beyond max_requests, awaits\n"
    "queue in order. What is returned is a coroutine: it can be awaited once.");

PyDoc_STRVAR(
    fdsync_doc,
    "fdsync($self, /, fd)\n"
    "--\n\n"
    "Await that what was written to the file is on the disk: see fdatasync(2).\n\n"
    "Returns None. Of the metadata it syncs what is needed to read the data. It covers writes\n"
    "that have completed, not those in flight.\n\n"
    "Arguments and errors are those of AIOOperation.fdsync. Beyond max_requests, awaits\n"
    "queue in order. What is returned is a coroutine: it can be awaited once.");

PyDoc_STRVAR(poll_doc,
             "poll($self, /, fd, events)\n"
             "--\n\n"
             "Await one of the events, a mask of select.POLL*, on the file: see poll(2).\n\n"
             "Returns the mask of the events that are there. A cancelled task ends at once.\n\n"
             "Arguments and errors are those of AIOOperation.poll. Beyond max_requests, awaits\n"
             "queue in order. What is returned is a coroutine: it can be awaited once.");

// Parses a timeout in seconds. None or no argument means no limit. Returns false with an exception
// set.
bool parse_timeout(PyObject* object, engine::Timeout& timeout) {
    if (object == nullptr || object == Py_None) {
        return true;
    }
    const double seconds = PyFloat_AsDouble(object);
    if (seconds == -1.0 && PyErr_Occurred() != nullptr) {
        return false;
    }
    if (!(seconds >= 0.0)) {
        PyErr_Format(PyExc_ValueError, "timeout must be None or a number of seconds from 0, not %S",
                     object);
        return false;
    }
    constexpr double for_ever = 1e9;  // seconds: 31 years
    if (seconds < for_ever) {
        timeout = std::chrono::nanoseconds(static_cast<std::int64_t>(std::ceil(seconds * 1e9)));
    }
    return true;
}

PyDoc_STRVAR(
    getevents_doc,
    "getevents($self, /, min_nr=1, max_nr=None, timeout=None)\n--\n\n"
    "Wait for completed operations and return a list of them, in order of completion.\n\n"
    "Returns once there are min_nr (0 to max_requests), when timeout (seconds; None: no\n"
    "end) is over, or when nothing that could still be returned is in flight; at most\n"
    "max_nr (None: all that are there). Each completed operation is returned at most once,\n"
    "and not if its result was asked for before. Those that signal an EventFD of the\n"
    "program's are returned only if the program still holds them. Waits without the GIL;\n"
    "signals are handled meanwhile. ValueError for a min_nr out of its limits, a max_nr\n"
    "below it, or a negative timeout. See io_getevents(2).");

PyObject* context_getevents(PyObject* object, PyObject* const* arguments, Py_ssize_t count,
                            PyObject* names) {
    static constexpr std::array<const char*, 3> parameters{"min_nr", "max_nr", "timeout"};
    std::array<PyObject*, parameters.size()> values{};
    if (!bind_arguments({"getevents", parameters, 0}, arguments, count, names, values)) {
        return nullptr;
    }
    auto* self = cast(object);
    std::int64_t min_nr = 1;
    if (values[0] != nullptr) {
        const auto value =
            to_integer(values[0], "min_nr", 0, static_cast<std::int64_t>(self->max_requests()));
        if (!value) {
            return nullptr;
        }
        min_nr = *value;
    }
    std::int64_t max_nr = INT64_MAX;
    if (values[1] != nullptr && values[1] != Py_None) {
        const auto value = to_integer(values[1], "max_nr", min_nr, INT64_MAX);
        if (!value) {
            return nullptr;
        }
        max_nr = *value;
    }
    engine::Timeout timeout;
    if (!parse_timeout(values[2], timeout)) {
        return nullptr;
    }
    return collect(self, static_cast<std::size_t>(min_nr), static_cast<std::size_t>(max_nr),
                   timeout);
}

PyDoc_STRVAR(
    cancel_doc,
    "cancel($self, operation, /)\n--\n\n"
    "Ask the kernel to cancel an operation in flight, and return whether it will.\n\n"
    "True: the operation ends with ECANCELED. False: it could not be cancelled and ends by\n"
    "itself; so do reads and writes of a disk, while a poll can always be cancelled. Either\n"
    "way it completes exactly once, and its EventFD is signalled. Waits for the answer\n"
    "without the GIL; signals are handled meanwhile. ValueError if it is not in flight in\n"
    "this context. See io_cancel(2).");

PyObject* context_cancel(PyObject* object, PyObject* argument) {
    auto* self = cast(object);
    if (!Py_IS_TYPE(argument, state_of(object).operation_type)) {
        PyErr_Format(PyExc_TypeError, "operation must be an AIOOperation, not %.200s",
                     Py_TYPE(argument)->tp_name);
        return nullptr;
    }
    return cancel(self, static_cast<OperationObject*>(argument));
}

PyDoc_STRVAR(
    statistics_doc,
    "statistics($self, /)\n--\n\n"
    "Return counts since the context was made, as a dict of int.\n\n"
    "submitted: operations that the engine took; completed; failed: of these, with an\n"
    "error; cancelled: cancellations that the kernel took; submissions: calls to the\n"
    "engine; short_submissions: of these, calls that did not take all; waits: times that a\n"
    "thread went to wait for completions.\n\n"
    "Which way the operations went, unless the engine is 'aio': inline: done by the\n"
    "submitting thread, without waiting; aio, uring, threads: handed to these. rerouted:\n"
    "those that 'auto' could not do in the shortest way, in all and by the reason:\n"
    "rerouted_uncached: a read would have waited for the disk; rerouted_unsupported: the\n"
    "file can't tell whether it would; rerouted_large: copying takes long;\n"
    "rerouted_write: a write may wait; rerouted_stream: a pipe, socket or terminal that\n"
    "was not ready; rerouted_other.");

PyObject* context_statistics(PyObject* object, PyObject* /*unused*/) {
    auto* self = cast(object);
    const ContextLock lock(cast(object));
    if (self->is_inherited()) {
        check_usable(self);
        return nullptr;
    }
    reap(self);
    const auto& counts = self->statistics();
    const auto routes = self->routes();
    const auto rerouted = routes.uncached + routes.unsupported + routes.large + routes.write +
                          routes.stream + routes.other;
    const std::pair<const char*, std::uint64_t> items[] = {
        {"submitted", counts.submitted},
        {"completed", counts.completed},
        {"failed", counts.failed},
        {"cancelled", counts.cancelled},
        {"submissions", counts.submissions},
        {"short_submissions", counts.short_submissions},
        {"waits", counts.waits},
        {"inline", routes.inside},
        {"aio", routes.aio},
        {"uring", routes.uring},
        {"threads", routes.threads},
        {"rerouted", rerouted},
        {"rerouted_uncached", routes.uncached},
        {"rerouted_unsupported", routes.unsupported},
        {"rerouted_large", routes.large},
        {"rerouted_write", routes.write},
        {"rerouted_stream", routes.stream},
        {"rerouted_other", routes.other},
    };
    auto result = Ref::steal(PyDict_New());
    for (const auto& [name, number] : items) {
        const auto value = Ref::steal(result ? PyLong_FromUnsignedLongLong(number) : nullptr);
        if (!value || PyDict_SetItemString(result.get(), name, value.get()) != 0) {
            return nullptr;
        }
    }
    return result.release();
}

// --- attributes

PyObject* context_get_max_requests(PyObject* object, void* /*closure*/) {
    return PyLong_FromSize_t(cast(object)->max_requests());
}

PyObject* context_get_in_flight(PyObject* object, void* /*closure*/) {
    auto* self = cast(object);
    const ContextLock lock(cast(object));
    if (self->is_inherited()) {
        check_usable(self);
        return nullptr;
    }
    reap(self);
    return PyLong_FromSize_t(self->in_flight.size());
}

PyObject* context_get_engine(PyObject* object, void* /*closure*/) {
    return PyUnicode_FromString(cast(object)->engine_name());
}

PyObject* context_get_closed(PyObject* object, void* /*closure*/) {
    const ContextLock lock(cast(object));
    return PyBool_FromLong(cast(object)->is_open() ? 0 : 1);
}

PyObject* context_get_fileno(PyObject* object, void* /*closure*/) {
    const ContextLock lock(cast(object));
    const int fd = fileno_of(cast(object));
    return fd < 0 ? nullptr : PyLong_FromLong(fd);
}

PyObject* context_get_loop(PyObject* object, void* /*closure*/) {
    auto running = running_loop(state_of(object));
    const ContextLock lock(cast(object));
    const auto& binding = cast(object)->binding;
    if (binding.loop && (binding.suspended != 0 || !running)) {
        PyErr_Clear();
        return binding.loop.kind->public_loop(binding.loop.get()).release();
    }
    return running ? running.kind->public_loop(running.get()).release() : nullptr;
}

PyObject* context_repr(PyObject* object) {
    const auto* self = cast(object);
    const ContextLock lock(cast(object));
    return PyUnicode_FromFormat("<linux_aio.AIOContext engine='%s' max_requests=%zu%s>",
                                self->engine_name(), self->max_requests(),
                                self->is_open() ? "" : " closed");
}

constexpr int awaited_flags = METH_FASTCALL | METH_KEYWORDS;

PyMethodDef methods[] = {
    {"read", as_method(make_awaited<make_read, read_name>), awaited_flags, read_doc},
    {"readinto", as_method(make_awaited<make_readinto, readinto_name>), awaited_flags,
     readinto_doc},
    {"readv", as_method(make_awaited<make_readv, readv_name>), awaited_flags, readv_doc},
    {"write", as_method(make_awaited<make_write, write_name>), awaited_flags, write_doc},
    {"writev", as_method(make_awaited<make_writev, writev_name>), awaited_flags, writev_doc},
    {"fsync", as_method(make_awaited<make_fsync, fsync_name>), awaited_flags, fsync_doc},
    {"fdsync", as_method(make_awaited<make_fdsync, fdsync_name>), awaited_flags, fdsync_doc},
    {"poll", as_method(make_awaited<make_poll, poll_name>), awaited_flags, poll_doc},
    {"submit", as_method(context_submit), METH_FASTCALL, submit_doc},
    {"getevents", as_method(context_getevents), METH_FASTCALL | METH_KEYWORDS, getevents_doc},
    {"cancel", context_cancel, METH_O, cancel_doc},
    {"statistics", context_statistics, METH_NOARGS, statistics_doc},
    {"close", context_close, METH_NOARGS, close_doc},
    {"__enter__", context_enter, METH_NOARGS, "__enter__($self, /)\n--\n\nReturn self."},
    {"__exit__", context_exit, METH_VARARGS, "__exit__($self, /, *args)\n--\n\nClose."},
    {"aclose", context_aclose, METH_NOARGS, aclose_doc},
    {"_start_closing", context_start_closing, METH_NOARGS, nullptr},
    {"_lift_limit", context_lift_limit, METH_NOARGS, nullptr},
    {"_is_inherited", context_is_inherited, METH_NOARGS, nullptr},
    {"_check_process", context_check_process, METH_NOARGS, nullptr},
    {"__aenter__", context_aenter, METH_NOARGS, "__aenter__($self, /)\n--\n\nReturn self."},
    {"__aexit__", context_aexit, METH_VARARGS, "__aexit__($self, /, *args)\n--\n\nAwait aclose()."},
    {},
};

// The methods of this file, of path_operations.cpp and of whole_file_operations.cpp. The last entry
// has no name.
PyMethodDef* all_methods() {
    using All = std::array<PyMethodDef, std::size(methods) + 2 * most_call_methods>;
    static All all = [] {
        All made{};
        auto* end = std::copy(std::begin(methods), std::end(methods) - 1, made.data());
        for (const auto others : {path_methods(), whole_file_methods()}) {
            end = std::copy(others.begin(), others.end(), end);
        }
        return made;
    }();
    return all.data();
}

PyGetSetDef properties[] = {
    {"max_requests", context_get_max_requests, nullptr,
     "How many operations can be in flight, or completed and not collected, at once.", nullptr},
    {"in_flight", context_get_in_flight, nullptr,
     "How many operations were submitted and have not completed.", nullptr},
    {"engine", context_get_engine, nullptr, "The name of the engine that does the work.", nullptr},
    {"closed", context_get_closed, nullptr, "Whether close() was called.", nullptr},
    {"fileno", context_get_fileno, nullptr,
     "The number of the context's own eventfd: readable while completed operations that signal\n"
     "no EventFD of the program's wait to be collected. For add_reader and the like; not to be\n"
     "read or closed.",
     nullptr},
    {"loop", context_get_loop, nullptr,
     "asyncio's event loop that the context serves: that in which something of it is awaited,\n"
     "else the running one. None in a Trio run. RuntimeError if no loop runs.",
     nullptr},
    {},
};

PyMemberDef members[] = {
    {"__weaklistoffset__", T_PYSSIZET, weak_references_offset<Context>(), READONLY, nullptr},
    {},
};

PyDoc_STRVAR(
    type_doc,
    "AIOContext(max_requests=128, *, engine=None)\n--\n\n"
    "A queue of at most max_requests operations in flight: see io_setup(2).\n\n"
    "max_requests is from 1 to 2**31 - 1. engine is 'auto', 'aio', 'uring' or 'threads'; with\n"
    "None the environment variable LINUX_AIO_ENGINE names it, and without that it is 'auto'.\n"
    "ValueError for other values, OSError if the system refuses the queue or the engine.\n\n"
    "An operation that signals no EventFD holds its place until getevents has returned it or\n"
    "its result was asked for. Use the context in a with or async with statement, or close\n"
    "it: one that is dropped while open warns with ResourceWarning. Any mix of threads can use\n"
    "it. In a child process, after fork(2), it can only be closed.");

PyType_Slot slots[] = {
    {Py_tp_new, as_slot(context_new)},
    {Py_tp_finalize, as_slot(context_finalize)},
    {Py_tp_dealloc, as_slot(context_dealloc)},
    {Py_tp_traverse, as_slot(context_traverse)},
    {Py_tp_clear, as_slot(context_clear)},
    {Py_tp_repr, as_slot(context_repr)},
    {Py_tp_methods, all_methods()},
    {Py_tp_getset, properties},
    {Py_tp_members, members},
    {Py_tp_doc, const_cast<char*>(type_doc)},
    {0, nullptr},
};

PyType_Spec spec{
    .name = "linux_aio.AIOContext",
    .basicsize = sizeof(ContextObject),
    .itemsize = 0,
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

}  // namespace

PyTypeObject* add_context_type(PyObject* module) { return add_type(module, &spec); }

}  // namespace python

// SPDX-License-Identifier: Apache-2.0
#include "python/operation_methods.hpp"

#include <structmember.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include "engine/operations/operation_type.hpp"
#include "python/arguments.hpp"
#include "python/awaitable.hpp"
#include "python/completion.hpp"
#include "python/context.hpp"
#include "python/context_lock.hpp"
#include "python/errors.hpp"
#include "python/exceptions.hpp"
#include "python/gil.hpp"
#include "python/operation.hpp"
#include "python/operation_factories.hpp"
#include "python/operation_life.hpp"
#include "python/operation_lock.hpp"
#include "python/operation_result.hpp"
#include "python/payload.hpp"
#include "python/read_memory.hpp"
#include "python/submission.hpp"

namespace python {
namespace {

OperationObject* cast(PyObject* self) { return static_cast<OperationObject*>(self); }

// Reaps the operation's completion if it has arrived. Returns false with RuntimeError if the
// operation is in flight in the process that this one was forked from. Must not be called with the
// operation locked: reaping may run code that submits it to another context, which that lock does
// not cover.
bool update(OperationObject* self) {
    const OperationLock lock(self);
    if (self->state != OperationState::in_flight) {
        return true;
    }
    const auto context = Ref::borrow(self->context.get());
    if (context_of(self)->is_inherited()) {
        return check_usable(context_of(self));
    }
    reap(context_of(self));
    return true;
}

// For methods that can't be used while the operation is in flight: returns false with ValueError
// then. Called with the operation locked, after update().
bool check_not_busy(const OperationObject* self) {
    if (is_busy(self)) {
        PyErr_SetString(PyExc_ValueError, "the operation is in flight");
        return false;
    }
    return true;
}

// --- results

PyDoc_STRVAR(
    get_result_doc,
    "get_result($self, /)\n--\n\n"
    "Return the operation's result, or raise the OSError that it met.\n\n"
    "For a read the bytes that were read; for readinto and readv how many were read; for a\n"
    "write or writev how many were written; for a poll the mask of events; for a sync None:\n"
    "see preadv2(2), pwritev2(2), poll(2), fsync(2).\n\n"
    "Never waits: BlockingIOError (EINPROGRESS) while the operation is in flight,\n"
    "RuntimeError if it was never submitted. Can be called again. AIOContext.getevents\n"
    "does not return the operation afterwards.");

PyObject* operation_get_result(PyObject* object, PyObject* /*unused*/) {
    auto* self = cast(object);
    if (!update(self)) {
        return nullptr;
    }
    const OperationLock lock(self);
    switch (self->state) {
        case OperationState::created:
            PyErr_SetString(PyExc_RuntimeError, "the operation was never submitted");
            return nullptr;
        case OperationState::submitting:
        case OperationState::in_flight:
            return raise_operation_error(self, EINPROGRESS);
        case OperationState::completed:
            break;
    }
    if (!is_collectable(self->listing)) {
        return take_result(self);
    }
    // The operation is forgotten first: taking the result may run code that submits the operation
    // again, even to another context. `context` is the present one, for
    // empty_eventfd_if_collected().
    const auto context = Ref::borrow(self->context.get());
    forget(context_of(self), self);
    auto result = Ref::steal(take_result(self));
    const KeptException kept;
    empty_eventfd_if_collected(static_cast<ContextObject*>(context.get()));
    return result.release();
}

PyObject* operation_get_done(PyObject* object, void* /*closure*/) {
    if (!update(cast(object))) {
        return nullptr;
    }
    const OperationLock lock(cast(object));
    return PyBool_FromLong(cast(object)->state == OperationState::completed ? 1 : 0);
}

// --- submission

bool check_eventfd(PyObject* object, PyObject* eventfd) {
    return eventfd_number(state_of(object), eventfd).has_value();
}

PyDoc_STRVAR(prepare_doc,
             "prepare($self, /, eventfd)\n--\n\n"
             "Name the EventFD (or its number) that completions of this operation signal.\n\n"
             "Holds for every submission until another prepare or submit names another one.\n"
             "ValueError while the operation is in flight, or if the EventFD is closed.");

PyObject* operation_prepare(PyObject* object, PyObject* const* arguments, Py_ssize_t count,
                            PyObject* keyword_names) {
    static constexpr std::array<const char*, 1> parameters{"eventfd"};
    std::array<PyObject*, parameters.size()> values{};
    if (!bind_arguments({"prepare", parameters, 1}, arguments, count, keyword_names, values) ||
        !check_eventfd(object, values[0])) {
        return nullptr;
    }
    if (!update(cast(object))) {
        return nullptr;
    }
    const OperationLock lock(cast(object));
    if (!check_not_busy(cast(object))) {
        return nullptr;
    }
    cast(object)->eventfd = Ref::borrow(values[0]);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(
    submit_doc,
    "submit($self, context, eventfd=None)\n--\n\n"
    "Submit this one operation to an AIOContext, as context.submit(self), and return 1.\n\n"
    "eventfd names the EventFD (or its number) to be signalled upon completion; None\n"
    "leaves it as prepared. See AIOContext.submit for the errors, and io_submit(2).");

PyObject* operation_submit(PyObject* object, PyObject* const* arguments, Py_ssize_t count,
                           PyObject* keyword_names) {
    static constexpr std::array<const char*, 2> parameters{"context", "eventfd"};
    std::array<PyObject*, parameters.size()> values{};
    if (!bind_arguments({"submit", parameters, 1}, arguments, count, keyword_names, values)) {
        return nullptr;
    }
    if (!Py_IS_TYPE(values[0], state_of(object).context_type)) {
        PyErr_Format(PyExc_TypeError, "context must be an AIOContext, not %.200s",
                     Py_TYPE(values[0])->tp_name);
        return nullptr;
    }
    PyObject* eventfd = values[1] == Py_None ? nullptr : values[1];
    const auto taken = submit(static_cast<ContextObject*>(values[0]), {&object, 1}, eventfd);
    return taken < 0 ? nullptr : PyLong_FromSsize_t(taken);
}

Ref context_of_last_submission(OperationObject* self) {
    const OperationLock lock(self);
    return Ref::borrow(self->context.get());
}

PyObject* operation_await(PyObject* object) {
    const auto context = context_of_last_submission(cast(object));
    if (!context) {
        PyErr_SetString(PyExc_RuntimeError,
                        "the operation was not submitted: submit it before awaiting it");
        return nullptr;
    }
    return make_awaitable(static_cast<ContextObject*>(context.get()), cast(object), false,
                          "AIOOperation");
}

// --- attributes

PyObject* operation_get_opcode(PyObject* object, void* /*closure*/) {
    return PyLong_FromLong(engine::type_of(cast(object)->request.opcode).kernel_number);
}

PyObject* operation_get_fileno(PyObject* object, void* /*closure*/) {
    const OperationLock lock(cast(object));
    return PyLong_FromLong(cast(object)->file.number());
}

PyObject* operation_get_nbytes(PyObject* object, void* /*closure*/) {
    const OperationLock lock(cast(object));
    return PyLong_FromSize_t(cast(object)->nbytes);
}

PyObject* operation_get_priority(PyObject* object, void* /*closure*/) {
    return PyLong_FromLong(cast(object)->request.priority);
}

PyObject* operation_get_flags(PyObject* object, void* /*closure*/) {
    return PyLong_FromLong(cast(object)->request.rw_flags);
}

PyObject* operation_get_eventfd(PyObject* object, void* /*closure*/) {
    const OperationLock lock(cast(object));
    return cast(object)->eventfd.new_ref_or_none();
}

PyObject* operation_get_context(PyObject* object, void* /*closure*/) {
    const OperationLock lock(cast(object));
    return cast(object)->context.new_ref_or_none();
}

PyObject* operation_get_offset(PyObject* object, void* /*closure*/) {
    const OperationLock lock(cast(object));
    if (cast(object)->request.at_position) {
        Py_RETURN_NONE;
    }
    return PyLong_FromUnsignedLongLong(cast(object)->offset);
}

bool check_not_deleted(PyObject* value, const char* name) {
    if (value == nullptr) {
        PyErr_Format(PyExc_AttributeError, "%s can't be deleted", name);
        return false;
    }
    return true;
}

int operation_set_offset(PyObject* object, PyObject* value, void* /*closure*/) {
    auto* self = cast(object);
    if (!check_not_deleted(value, "offset")) {
        return -1;
    }
    if (!reads(self->kind) && !writes(self->kind)) {
        PyErr_SetString(PyExc_AttributeError, "syncs and polls have no offset");
        return -1;
    }
    const bool at_position = value == Py_None;
    const auto offset =
        at_position ? std::optional<std::int64_t>(0) : to_integer(value, "offset", 0, INT64_MAX);
    if (!offset) {
        return -1;
    }
    if (!update(self)) {
        return -1;
    }
    const OperationLock lock(self);
    if (!check_not_busy(self)) {
        return -1;
    }
    self->offset = static_cast<std::uint64_t>(*offset);
    self->request.at_position = at_position;
    return 0;
}

PyObject* operation_get_payload(PyObject* object, void* /*closure*/) {
    auto* self = cast(object);
    if (self->kind == OperationKind::read && !update(self)) {
        return nullptr;
    }
    const OperationLock lock(self);
    if (self->kind != OperationKind::read) {
        return self->memory.payload.new_ref_or_none();
    }
    if (self->state != OperationState::completed || self->result < 0) {
        Py_RETURN_NONE;
    }
    return read_result(*self);
}

int operation_set_payload(PyObject* object, PyObject* value, void* /*closure*/) {
    auto* self = cast(object);
    if (!check_not_deleted(value, "payload")) {
        return -1;
    }
    if (self->kind != OperationKind::write && self->kind != OperationKind::readinto) {
        PyErr_SetString(PyExc_AttributeError, "only the payload of a write or readinto can be set");
        return -1;
    }
    if (!update(self)) {
        return -1;
    }
    const OperationLock lock(self);
    if (!check_not_busy(self)) {
        return -1;
    }
    // Claimed, so that code that exports the buffer can't submit the operation.
    const auto state_before = OperationLife::claim(self);
    const bool is_set = set_payload(*self, value);
    OperationLife::unclaim(self, state_before);
    return is_set ? 0 : -1;
}

const char* state_name(const Operation* operation) {
    switch (operation->state) {
        case OperationState::created:
            return "not submitted";
        case OperationState::submitting:
        case OperationState::in_flight:
            return "in flight";
        case OperationState::completed:
            break;
    }
    return operation->result < 0 ? "failed" : "done";
}

PyObject* operation_repr(PyObject* object) {
    const OperationLock lock(cast(object));
    const auto description = Ref::steal(describe(cast(object)));
    return description ? PyUnicode_FromFormat("<linux_aio.AIOOperation: %U, %s>", description.get(),
                                              state_name(cast(object)))
                       : nullptr;
}

// --- memory

int operation_traverse(PyObject* object, visitproc visit, void* arg) {
    auto* self = cast(object);
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->eventfd.get());
    Py_VISIT(self->context.get());
    if (self->details != nullptr) {
        Py_VISIT(self->details->filename.get());
        Py_VISIT(self->details->other_filename.get());
        Py_VISIT(self->details->payload.get());
    }
    if (const int status = self->file.traverse(visit, arg); status != 0) {
        return status;
    }
    return self->memory.traverse(visit, arg);
}

// Leaves Context::collectable if that has no reference to the operation. For each other list, the
// list or an awaitable has a reference, so an operation that ends is in none of them.
void leave_weak_list(OperationObject* self) {
    if (OperationLife::is_unlisted(self)) {
        return;
    }
    const ContextLock lock(context_of(self));
    if (self->listing == Listing::weak) {
        forget(context_of(self), self);
    }
}

int operation_clear(PyObject* object) {
    auto* self = cast(object);
    leave_weak_list(self);
    const OperationLock lock(self);
    self->memory.clear();
    self->eventfd.reset();
    self->file.clear();
    self->context.reset();
    return 0;
}

// Called only by the garbage collector, before it clears anything. Up to Python 3.12, the collector
// may clear an exported memoryview, and releasing the view after that crashes: so release it first.
// If a finalizer revives the operation, its next submission exports the buffers again.
void operation_finalize(PyObject* object) {
    auto* self = cast(object);
    leave_weak_list(self);  // code that runs while the collector clears must not find it there
    const bool is_the_kernels =
        is_busy(self) && self->kind != OperationKind::poll && !context_of(self)->is_inherited();
    if (!is_the_kernels) {
        const KeptException kept;
        self->memory.view.release();
        self->memory.vector.release();
    }
}

void operation_dealloc(PyObject* object) {
    auto* self = cast(object);
    PyObject_GC_UnTrack(object);
    leave_weak_list(self);
    if (self->weak_references != nullptr) {
        PyObject_ClearWeakRefs(object);
    }
    auto* state = state_or_null(object);
    FreeOperations::deallocate(state != nullptr ? &state->free_operations : nullptr, self);
}

// The class methods ask a file object for its number, so that the operation shows the number from
// the start.
template <auto make>
PyObject* make_and_ask(PyObject* type, PyObject* const* arguments, Py_ssize_t count,
                       PyObject* names) {
    auto operation = Ref::steal(make(type, arguments, count, names));
    return operation && cast(operation.get())->file.ask() ? operation.release() : nullptr;
}

constexpr int factory_flags = METH_CLASS | METH_FASTCALL | METH_KEYWORDS;

PyMethodDef methods[] = {
    {"read", as_method(make_and_ask<make_read>), factory_flags, make_read_doc},
    {"readinto", as_method(make_and_ask<make_readinto>), factory_flags, make_readinto_doc},
    {"readv", as_method(make_and_ask<make_readv>), factory_flags, make_readv_doc},
    {"write", as_method(make_and_ask<make_write>), factory_flags, make_write_doc},
    {"writev", as_method(make_and_ask<make_writev>), factory_flags, make_writev_doc},
    {"fsync", as_method(make_and_ask<make_fsync>), factory_flags, make_fsync_doc},
    {"fdsync", as_method(make_and_ask<make_fdsync>), factory_flags, make_fdsync_doc},
    {"poll", as_method(make_and_ask<make_poll>), factory_flags, make_poll_doc},
    {"prepare", as_method(operation_prepare), METH_FASTCALL | METH_KEYWORDS, prepare_doc},
    {"submit", as_method(operation_submit), METH_FASTCALL | METH_KEYWORDS, submit_doc},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS,
     "__class_getitem__($type, result, /)\n--\n\nAIOOperation[bytes]: the type of its result."},
    {"get_result", operation_get_result, METH_NOARGS, get_result_doc},
    {},
};

PyGetSetDef properties[] = {
    {"done", operation_get_done, nullptr,
     "Whether the operation has completed since it was last submitted. Never waits.", nullptr},
    {"opcode", operation_get_opcode, nullptr, "The IOCB_CMD_* number of <linux/aio_abi.h>.",
     nullptr},
    {"fileno", operation_get_fileno, nullptr,
     "The file's number, as its object gave it when last asked.", nullptr},
    {"nbytes", operation_get_nbytes, nullptr, "The bytes asked for; 0 for a sync or a poll.",
     nullptr},
    {"priority", operation_get_priority, nullptr, "The ioprio value; 0: that of the thread.",
     nullptr},
    {"flags", operation_get_flags, nullptr, "The RWF_* flags; see preadv2(2).", nullptr},
    {"eventfd", operation_get_eventfd, nullptr,
     "The EventFD, or number, that completions signal; None if none was named.", nullptr},
    {"context", operation_get_context, nullptr, "The AIOContext of the last submission, or None.",
     nullptr},
    {"offset", operation_get_offset, operation_set_offset,
     "The byte of the file to start at; None: where the file stands. Can be set while the\n"
     "operation is not in flight.",
     nullptr},
    {"payload", operation_get_payload, operation_set_payload,
     "The buffer of a write or readinto, which can be set while the operation is not in flight;\n"
     "the tuple of buffers of a writev or readv; the result of a read, or None before.",
     nullptr},
    {},
};

PyMemberDef members[] = {
    {"__weaklistoffset__", T_PYSSIZET, weak_references_offset<Operation>(), READONLY, nullptr},
    {},
};

PyDoc_STRVAR(type_doc,
             "One request to the kernel, and what became of it: see io_submit(2).\n\n"
             "Made by the class methods read, readinto, readv, write, writev, fsync, fdsync and\n"
             "poll. fd is an int, an EventFD, an AIOContext, or an object with a fileno() method,\n"
             "which is asked again at each submission. A completed operation can be submitted\n"
             "again, which forgets its last result. While it is in flight the operation, its\n"
             "buffers, its file object and its EventFD are kept alive.");

PyType_Slot slots[] = {
    {Py_tp_dealloc, as_slot(operation_dealloc)},
    {Py_tp_traverse, as_slot(operation_traverse)},
    {Py_tp_clear, as_slot(operation_clear)},
    {Py_tp_finalize, as_slot(operation_finalize)},
    {Py_tp_repr, as_slot(operation_repr)},
    {Py_am_await, as_slot(operation_await)},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {Py_tp_members, members},
    {Py_tp_doc, const_cast<char*>(type_doc)},
    {0, nullptr},
};

PyType_Spec spec{
    .name = "linux_aio.AIOOperation",
    .basicsize = sizeof(OperationObject),
    .itemsize = 0,
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};

}  // namespace

PyTypeObject* add_operation_type(PyObject* module) { return add_type(module, &spec); }

}  // namespace python

// SPDX-License-Identifier: Apache-2.0
#include "python/loop_binding.hpp"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <new>
#include <span>

#include "engine/clofork_fd.hpp"
#include "python/awaitable.hpp"
#include "python/completion.hpp"
#include "python/context.hpp"
#include "python/context_lock.hpp"
#include "python/exceptions.hpp"
#include "python/gil.hpp"
#include "python/operation_life.hpp"
#include "python/reference_counts.hpp"
#include "python/running_loop.hpp"
#include "python/submission.hpp"
#include "python/turn_budget.hpp"
#include "python/wake_future.hpp"

namespace python {
namespace {

// --- the watcher

struct Watcher {
    ContextObject* context = nullptr;  // null once the binding has ended; with the watcher locked
    engine::CloforkFd fd;
    engine::CloforkFd borrowed_fd;  // a duplicate of the context's
    engine::CloforkFd timer;        // for request_look()
    EventLoop loop;
};
struct WatcherObject : PyObject, Watcher {};

WatcherObject* cast(PyObject* self) { return static_cast<WatcherObject*>(self); }

WatcherObject* watcher_of(const ContextObject* context) noexcept {
    return cast(context->binding.watcher.get());
}

// In the loop's thread. The fd is closed after the loop has forgotten its number.
void stop_watching(const EventLoop& loop, engine::CloforkFd fd) noexcept {
    if (loop && fd.is_open()) {
        const KeptException kept;
        loop.kind->remove_reader(loop.get(), fd.get());
    }
}

void stop_watching(WatcherObject* watcher) noexcept {
    const auto loop = std::move(watcher->loop);
    stop_watching(loop, std::move(watcher->fd));
    stop_watching(loop, std::move(watcher->borrowed_fd));
    stop_watching(loop, std::move(watcher->timer));
}

// False with an exception set.
bool start_watching(const EventLoop& loop, const engine::CloforkFd& fd, PyObject* watcher) {
    if (!fd.is_open()) {
        PyErr_SetFromErrno(PyExc_OSError);
        return false;
    }
    return loop.kind->add_reader(loop.get(), fd.get(), watcher);
}

// Nobody will step the tasks of a closed loop again.
void drop_suspended(ContextObject* context) noexcept {
    for (auto* list : {&context->binding.queued, &context->binding.ready}) {
        while (auto* operation = list->front()) {
            OperationLife::leave_queue(context->binding, operation);
        }
    }
}

// Null once the binding has ended.
Ref context_of(WatcherObject* watcher) noexcept {
    const ObjectLock lock(watcher);
    return watcher->context != nullptr ? try_reference(watcher->context) : Ref();
}

void forget_context(WatcherObject* watcher) noexcept {
    const ObjectLock lock(watcher);
    watcher->context = nullptr;
}

// Called by the loop: for an eventfd or the timer, or with the number of the turn in which a turn
// was requested.
PyObject* watcher_call(PyObject* object, PyObject* arguments, PyObject* /*keywords*/) {
    auto* watcher = cast(object);
    const auto held = context_of(watcher);
    auto* context = static_cast<ContextObject*>(held.get());
    if (context == nullptr) {
        stop_watching(watcher);
        Py_RETURN_NONE;
    }
    if (context->is_inherited()) {
        Py_RETURN_NONE;
    }
    ContextLock lock(context);
    auto& binding = context->binding;
    auto& budget = TurnBudget::of_this_thread();
    PyObject* reason = PyTuple_GET_SIZE(arguments) == 1 ? PyTuple_GET_ITEM(arguments, 0) : nullptr;
    if (reason != nullptr) {
        binding.turn_is_requested = false;
        budget.start_next(PyLong_AsUnsignedLongLong(reason));
    } else {
        if (binding.look_is_requested) {
            std::uint64_t times = 0;
            binding.look_is_requested = read(watcher->timer.get(), &times, sizeof times) < 0;
        }
        // The loop comes for an eventfd once in each of its turns; also where a turn was requested
        // and the loop has no other way to come.
        budget.start_next(binding.turn_comes_by_eventfd ? binding.requested_in_turn
                                                        : binding.last_turn);
        binding.turn_is_requested = binding.turn_is_requested && !binding.turn_comes_by_eventfd;
        binding.turn_comes_by_eventfd = false;
        binding.last_turn = budget.turn();
    }
    if (!run_turn(context, lock)) {
        return nullptr;
    }
    Py_RETURN_NONE;
}

// The loop is over, and calls nobody any more.
PyObject* watcher_end(PyObject* object, PyObject* /*unused*/) {
    const auto held = context_of(cast(object));
    auto* context = static_cast<ContextObject*>(held.get());
    if (context != nullptr) {
        const ContextLock lock(context);
        if (context->binding.watcher.get() == object) {
            drop_suspended(context);
            unbind(context);
        }
    }
    stop_watching(cast(object));
    Py_RETURN_NONE;
}

// What was started without a task is not waited for, and may never be.
bool has_suspended_task(const OperationList& operations) noexcept {
    for (auto* operation = operations.front(); operation != nullptr;
         operation = OperationList::next(operation)) {
        const AwaitableObject* awaiter = operation->awaiter;
        if (awaiter != nullptr && awaiter->stage == Awaitable::Stage::suspended) {
            return true;
        }
    }
    return false;
}

PyObject* watcher_get_is_awaited(PyObject* object, void* /*closure*/) {
    const auto held = context_of(cast(object));
    auto* context = static_cast<ContextObject*>(held.get());
    if (context == nullptr) {
        Py_RETURN_FALSE;
    }
    const ContextLock lock(context);
    const auto& binding = context->binding;
    const bool is_awaited = has_suspended_task(context->in_flight) ||
                            has_suspended_task(binding.queued) || has_suspended_task(binding.ready);
    return PyBool_FromLong(is_awaited ? 1 : 0);
}

PyMethodDef watcher_methods[] = {
    {"end", watcher_end, METH_NOARGS, "The loop is over: leave the context."},
    {},
};

PyGetSetDef watcher_properties[] = {
    {"is_awaited", watcher_get_is_awaited, nullptr,
     "Whether a task waits for something of the context's.", nullptr},
    {},
};

int watcher_traverse(PyObject* object, visitproc visit, void* arg) {
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(cast(object)->loop.get());
    return 0;
}

int watcher_clear(PyObject* object) {
    cast(object)->loop = {};
    return 0;
}

void watcher_dealloc(PyObject* object) {
    PyObject_GC_UnTrack(object);
    std::destroy_at(static_cast<Watcher*>(cast(object)));
    auto* type = Py_TYPE(object);
    type->tp_free(object);
    Py_DECREF(type);
}

PyType_Slot slots[] = {
    {Py_tp_call, as_slot(watcher_call)},
    {Py_tp_dealloc, as_slot(watcher_dealloc)},
    {Py_tp_traverse, as_slot(watcher_traverse)},
    {Py_tp_clear, as_slot(watcher_clear)},
    {Py_tp_methods, watcher_methods},
    {Py_tp_getset, watcher_properties},
    {Py_tp_doc, const_cast<char*>("What an event loop calls for a context.")},
    {0, nullptr},
};

PyType_Spec spec{
    .name = "linux_aio._core._Watcher",
    .basicsize = sizeof(WatcherObject),
    .itemsize = 0,
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};

// A watcher that the loop calls when its eventfd is readable, or null.
Ref make_watcher(ContextObject* context, const EventLoop& loop) {
    auto* type = state_of(context).watcher_type;
    auto object = Ref::steal(type->tp_alloc(type, 0));
    if (!object) {
        return {};
    }
    auto* watcher = cast(object.get());
    new (static_cast<Watcher*>(watcher)) Watcher;
    watcher->fd = engine::make_clofork_eventfd(EFD_CLOEXEC | EFD_NONBLOCK);
    if (!start_watching(loop, watcher->fd, object.get())) {
        return {};
    }
    watcher->context = context;
    watcher->loop = loop.copy();
    return object;
}

// --- turns

constexpr std::size_t enough_bytes = std::size_t{256} * 1024;

// What stands in the queue for the reason that its turn has come: in one submission together, but
// of large transfers, which take their time, few.
std::size_t choose_from_queue(const ContextObject* context,
                              std::span<PyObject*> operations) noexcept {
    const auto room = std::min(context->room(), operations.size());
    std::size_t count = 0;
    std::size_t bytes = 0;
    for (auto* operation = context->binding.queued.front();
         operation != nullptr && count < room && bytes < enough_bytes;
         operation = OperationList::next(operation)) {
        operations[count++] = operation;
        bytes += operation->nbytes;
    }
    return count;
}

// The short way for the first in the queue, if it is a read that is known to end at once. Returns
// whether it was.
bool complete_first(ContextObject* context, TurnBudget& budget) noexcept {
    auto& binding = context->binding;
    const auto held = Ref::borrow(binding.queued.front());
    auto* operation = static_cast<OperationObject*>(held.get());
    if (operation == nullptr || context->room() == 0 || !may_complete_at_once(context, operation) ||
        !budget.may_spend(context)) {
        return false;
    }
    const auto begin = TurnBudget::Clock::now();
    auto now = begin;
    if (!complete_at_once(context, operation, now)) {
        return false;
    }
    budget.spend(now - begin);
    OperationLife::make_ready(context, operation);
    let_go(operation);
    return true;
}

void submit_queued(ContextObject* context) noexcept {
    auto& budget = TurnBudget::of_this_thread();
    std::array<PyObject*, most_awaited> operations;
    while (context->engine != nullptr && !context->closing) {
        if (complete_first(context, budget)) {
            continue;
        }
        const auto count = choose_from_queue(context, operations);
        if (count == 0 || !budget.may_spend(context)) {
            return;
        }
        const TurnBudget::Measure measure(budget, enough_bytes);
        const bool some_moved = submit_awaited(context, std::span(operations).first(count));
        reap(context);
        if (!some_moved) {
            return;
        }
    }
}

// The rest of the queue waits for a completion, which comes by the eventfd: but for these cases.
bool needs_another_turn(const ContextObject* context) noexcept {
    return context->unsignalled != 0 ||
           (!context->binding.queued.empty() &&
            (TurnBudget::of_this_thread().is_used_up() || context->room() != 0));
}

// Whether all the places are taken, and some by operations whose completion nobody may look for.
bool needs_to_look_again(const ContextObject* context) noexcept {
    const bool is_told_of_all =
        context->eventfds_in_flight == 0 &&
        (!context->binding.earlier_loop_in_flight || context->in_flight.empty());
    return !context->binding.queued.empty() && !is_told_of_all;
}

// An asyncio loop's timers would do, but those of Trio may be a test's, which do not run.
bool start_timer(WatcherObject* watcher) {
    if (!watcher->timer.is_open()) {
        engine::CloforkFd timer;
        {
            const engine::ForkBarrier barrier;
            timer.adopt(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK), barrier);
        }
        if (!start_watching(watcher->loop, timer, watcher)) {
            return false;
        }
        watcher->timer = std::move(timer);
    }
    itimerspec delay{};
    delay.it_value.tv_nsec = 1'000'000;
    return timerfd_settime(watcher->timer.get(), 0, &delay, nullptr) == 0;
}

void request_look(ContextObject* context) noexcept {
    auto& binding = context->binding;
    if (std::exchange(binding.look_is_requested, true)) {
        return;
    }
    const KeptException kept;
    const auto watcher = Ref::borrow(binding.watcher.get());
    if (!start_timer(cast(watcher.get()))) {
        PyErr_Clear();
        binding.look_is_requested = false;
        tell_loop(context);  // which takes no memory
    }
}

// What the task of the first ready operation waits for; the operation leaves the list. Null if no
// task waits, or only one of a loop that was closed: nobody will step that again.
Ref take_ready(LoopBinding& binding) noexcept {
    auto* operation = binding.ready.front();
    OperationLife::leave_queue(binding, operation);
    const AwaitableObject* awaiter = operation->awaiter;
    const bool is_waited_for = awaiter != nullptr && awaiter->binding_number == binding.number;
    return Ref::borrow(is_waited_for ? awaiter->wake.get() : nullptr);
}

void wake_all_soon(ContextObject* context) noexcept {
    const auto* kind = context->binding.loop.kind;
    while (!context->binding.ready.empty()) {
        if (const auto wake = take_ready(context->binding)) {
            kind->wake_soon(wake.get());
        }
    }
}

// How long run_turn() goes on waking before it lets the rest of the loop have its turn. Not always
// looks at the clock.
class WakeBudget {
public:
    bool is_over() noexcept {
        if (++questions_ % sample == 0 && !is_over_) {
            is_over_ = Clock::now() - start_ >= limit;
        }
        return is_over_;
    }

private:
    using Clock = std::chrono::steady_clock;
    static constexpr std::chrono::nanoseconds limit = std::chrono::microseconds(300);
    static constexpr unsigned sample = 4;

    Clock::time_point start_ = Clock::now();
    unsigned questions_ = 0;
    bool is_over_ = false;
};

// As many are submitted together as keeps both the disk and the tasks busy: more at once is
// cheaper, but a disk that has little else to do is idle for as long as it takes to collect them.
bool batch_is_full(const ContextObject* context) noexcept {
    constexpr std::size_t fewest = 4;
    constexpr std::size_t most = 32;
    const auto count = std::min(context->binding.queued.size(), context->room());
    return count >= std::clamp(context->in_flight.size(), fewest, most);
}

void submit_for_turn(ContextObject* context) noexcept {
    context->binding.is_running = true;
    submit_queued(context);
    context->binding.is_running = false;
}

// The loop calls a reader in the same Python context each time. For the life of this object we are
// not in it, or a loop that is run inside a callback of ours could not come to us again.
class OutsideContext {
public:
    OutsideContext() noexcept : context_(Ref::borrow(current_context())) {
        if (context_ && PyContext_Exit(context_.get()) != 0) {
            PyErr_Clear();
            context_.reset();
        }
    }
    OutsideContext(const OutsideContext&) = delete;
    OutsideContext& operator=(const OutsideContext&) = delete;
    ~OutsideContext() {
        const KeptException kept;
        if (context_ && PyContext_Enter(context_.get()) != 0) {
            PyErr_Clear();  // not covered: another thread would have to be in that context
        }
    }

private:
    Ref context_;
};

// Calls back those whose operations have completed by now, and submits what they queue. False with
// an exception set.
bool wake_all_now(ContextObject* context, ContextLock& lock, WakeBudget& wake_budget) {
    auto& binding = context->binding;
    // whoever is called back may have the context served by another loop
    const auto& kind = *binding.loop.kind;
    const auto number = binding.number;
    auto* outer = binding.waking;
    const OutsideContext outside;
    bool goes_on = true;
    for (auto left = binding.ready.size();
         goes_on && left != 0 && !binding.ready.empty() && binding.number == number; --left) {
        const auto wake = take_ready(binding);
        if (!wake) {
            continue;
        }
        // held: it may be put back by then, for another callback of the same
        const auto python_context = kind.context_of_wake(wake.get());
        binding.waking = python_context.get();
        {
            const ContextLock::Pause pause(lock);
            goes_on = kind.wake_now(wake.get());
        }
        binding.waking = outer;
        if (goes_on && batch_is_full(context)) {
            submit_for_turn(context);
        }
        if (wake_budget.is_over()) {
            break;
        }
    }
    return goes_on;
}

// False with an exception set.
bool wake_and_submit(ContextObject* context, ContextLock& lock) {
    auto& binding = context->binding;
    if (!binding.loop || TurnBudget::of_this_thread().is_contended() ||
        !binding.loop.kind->may_wake_now(state_of(context), binding.loop.get())) {
        wake_all_soon(context);
        return true;
    }
    WakeBudget wake_budget;
    do {
        if (!wake_all_now(context, lock, wake_budget)) {
            return false;
        }
        submit_for_turn(context);
    } while (!binding.ready.empty() && !wake_budget.is_over());
    return true;
}

}  // namespace

PyTypeObject* make_watcher_type(PyObject* module) {
    return reinterpret_cast<PyTypeObject*>(PyType_FromModuleAndSpec(module, &spec, nullptr));
}

bool bind_to_running_loop(ContextObject* context) {
    auto& binding = context->binding;
    auto& state = state_of(context);
    if (binding.loop && binding.loop.kind == &running_kind(state) &&
        binding.loop.kind->runs_here(state, binding.loop.get())) {
        return true;
    }
    const auto loop = running_loop(state);
    if (!loop) {
        return false;
    }
    if (binding.loop) {
        if (binding.suspended != 0 && !binding.loop.kind->is_closed(binding.loop.get())) {
            PyErr_SetString(PyExc_RuntimeError,
                            "the AIOContext serves another event loop, in which it is awaited");
            return false;
        }
        drop_suspended(context);
        unbind(context);
    }
    const auto number = binding.number;
    auto watcher = make_watcher(context, loop);
    if (!watcher) {
        return false;
    }
    if (binding.loop || binding.number != number) {
        // Another thread came in between, with its loop.
        forget_context(cast(watcher.get()));
        stop_watching(cast(watcher.get()));
        return bind_to_running_loop(context);
    }
    binding.watcher = std::move(watcher);
    binding.loop = loop.copy();
    binding.turn_is_requested = false;
    binding.look_is_requested = false;
    binding.turn_comes_by_eventfd = false;
    binding.suspended = 0;
    binding.earlier_loop_in_flight = !context->in_flight.empty();
    ++binding.number;
    return true;
}

int eventfd_of_binding(const ContextObject* context) noexcept {
    return context->binding.watcher ? watcher_of(context)->fd.get() : -1;
}

bool borrow_eventfd(ContextObject* context) {
    auto* watcher = watcher_of(context);
    if (watcher->borrowed_fd.is_open()) {
        return true;
    }
    // Another thread may end the binding meanwhile.
    const auto held = Ref::borrow(watcher);
    const auto loop = context->binding.loop.copy();
    engine::CloforkFd fd;
    {
        const engine::ForkBarrier barrier;
        fd.adopt(fcntl(context->eventfd.get(), F_DUPFD_CLOEXEC, 0), barrier);
    }
    if (!start_watching(loop, fd, watcher)) {
        return false;
    }
    watcher->borrowed_fd = std::move(fd);
    return true;
}

void tell_loop(const ContextObject* context) noexcept {
    if (const int fd = eventfd_of_binding(context); fd >= 0) {
        signal_eventfd(fd);
    }
}

void hide_from_loop(ContextObject* context) noexcept {
    if (auto* watcher = watcher_of(context); watcher != nullptr) {
        forget_context(watcher);
    }
}

void unbind(ContextObject* context) noexcept {
    auto& binding = context->binding;
    if (!binding.loop) {
        return;
    }
    const KeptException kept;
    const auto loop = std::move(binding.loop);
    const auto watcher = std::move(binding.watcher);
    forget_context(cast(watcher.get()));
    auto* state = state_or_null(context);
    if (context->is_inherited() || state == nullptr) {
        return;  // the loop's epoll instance is the parent's, too; or it is all over
    }
    if (loop.kind->may_touch(*state, loop.get())) {
        stop_watching(cast(watcher.get()));
    } else {
        signal_eventfd(cast(watcher.get())->fd.get());  // the watcher, called, finds no context
    }
    PyErr_Clear();
}

void request_turn(ContextObject* context) noexcept {
    auto& binding = context->binding;
    if (!binding.loop || std::exchange(binding.turn_is_requested, true)) {
        return;
    }
    const KeptException kept;
    const auto loop = binding.loop.copy();
    const auto watcher = Ref::borrow(binding.watcher.get());
    const auto turn = Ref::steal(PyLong_FromUnsignedLongLong(TurnBudget::of_this_thread().turn()));
    if (!turn || !loop.kind->call_soon(state_of(context), loop.get(), watcher.get(), turn.get())) {
        binding.turn_comes_by_eventfd = true;
        binding.requested_in_turn = TurnBudget::of_this_thread().turn();
        tell_loop(context);  // which takes no memory
    }
    PyErr_Clear();
}

void submit_full_batch(ContextObject* context) noexcept {
    const auto& binding = context->binding;
    if (!binding.queued.empty() && binding.loop && binding.loop.kind->steps_all_tasks() &&
        !context->closing && batch_is_full(context)) {
        submit_for_turn(context);
    }
}

void attend_to_queue(ContextObject* context) noexcept {
    if (needs_another_turn(context)) {
        request_turn(context);
    } else if (needs_to_look_again(context)) {
        request_look(context);
    }
}

bool comes_to_queue(const ContextObject* context) noexcept {
    const auto& binding = context->binding;
    return binding.is_running || (binding.waking != nullptr && binding.waking == current_context());
}

bool run_turn(ContextObject* context, ContextLock& lock) {
    auto& binding = context->binding;
    if (context->engine != nullptr) {
        binding.is_running = true;
        empty_eventfd(eventfd_of_binding(context));
        const bool is_emptied =
            binding.borrowed != 0 && (!context->eventfd_is_watched || context->kept == 0);
        if (is_emptied) {
            empty_eventfd(context->eventfd.get());
        }
        reap(context);
        if (is_emptied && context->eventfd_is_watched && context->kept != 0) {
            signal_eventfd(context->eventfd.get());  // that was for the program, too
        }
        submit_queued(context);
        binding.is_running = false;
    }
    if (context->closing) {
        fail_queued(context);  // those that were out of the queue when it was closed
    }
    const bool succeeded = binding.ready.empty() || wake_and_submit(context, lock);
    if (context->engine == nullptr) {
        wake_all_soon(context);
        unbind(context);
        return succeeded;
    }
    if (binding.borrowed == 0 && binding.watcher && watcher_of(context)->borrowed_fd.is_open()) {
        stop_watching(binding.loop.copy(), std::move(watcher_of(context)->borrowed_fd));
        if (context->eventfd_is_watched && context->kept != 0) {
            signal_eventfd(context->eventfd.get());
        }
    }
    if (!binding.ready.empty()) {
        request_turn(context);
    }
    attend_to_queue(context);
    return succeeded;
}

void wake_ready(ContextObject* context) noexcept {
    if (!context->binding.loop || context->binding.ready.empty()) {
        return;
    }
    const auto& loop = context->binding.loop;
    if (loop.kind->may_touch(state_of(context), loop.get())) {
        wake_all_soon(context);
    } else {
        request_turn(context);
    }
}

void fail_queued(ContextObject* context) noexcept {
    const KeptException kept;
    while (!context->binding.queued.empty()) {
        auto failure = Ref::steal(PyObject_CallFunction(
            PyExc_ValueError, "s", "the AIOContext was closed before the operation's turn came"));
        PyErr_Clear();
        // Only now, for making an exception may let other threads in.
        auto* operation = context->binding.queued.front();
        if (operation == nullptr) {
            break;  // not covered: needs another thread, or a collection, at that very moment
        }
        OperationLife::make_ready(context, operation);
        operation->awaiter->failure = std::move(failure);
    }
    wake_ready(context);
}

}  // namespace python

// SPDX-License-Identifier: Apache-2.0
#include "python/submission.hpp"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <utility>

#include "python/awaitable_state.hpp"
#include "python/completion.hpp"
#include "python/context_lock.hpp"
#include "python/errors.hpp"
#include "python/exceptions.hpp"
#include "python/gil.hpp"
#include "python/loop_binding.hpp"
#include "python/operation_life.hpp"
#include "python/operation_lock.hpp"
#include "python/payload.hpp"
#include "python/read_memory.hpp"
#include "python/reference_counts.hpp"
#include "python/small_array.hpp"
#include "python/waking.hpp"

namespace python {
namespace {

// An operation that is being submitted, with the state to restore if the engine does not take it.
struct Candidate {
    OperationObject* operation = nullptr;
    OperationState state_before{};
    Listing listing_before{};
    int eventfd_number = -1;
    Ref context_before;
    // The EventFD or int that this submission is to signal. When the operation is listed as in
    // flight, this is swapped with the operation's former one.
    Ref eventfd;
};

// Submissions of up to this many operations hold the GIL. For fewer operations, taking the GIL back
// costs more than the submission.
constexpr std::size_t most_with_gil = 256;

// A submission runs in four steps. It claims the operations, so that no other thread can. It
// prepares their memory and fds, which may run any Python code. It lists as many as there is room
// for as in flight and hands them to the engine; no other code runs between these two. It withdraws
// those that the engine did not take.
class Batch {
public:
    Batch(ContextObject* context, std::span<PyObject* const> operations)
        : context_(context), slots_(operations.size()), requests_(operations.size()) {}
    Batch(const Batch&) = delete;
    Batch& operator=(const Batch&) = delete;

    ~Batch() {
        for (auto& candidate : candidates()) {
            unclaim(candidate);
        }
    }

    // False with MemoryError if there was no memory for the batch.
    bool is_allocated() const noexcept { return slots_.is_allocated() && requests_.is_allocated(); }

    // Claims an operation. Returns false with a ValueError if it is in flight, or in the batch
    // already. The context's lock must not be held here, nor when the batch is destroyed: both may
    // have to take the lock of another context.
    bool claim(PyObject* object);

    // Prepares all operations, and the memory of as many reads as there is room for. Returns false
    // with an exception set if one can't be submitted.
    bool prepare(PyObject* eventfd);

    // Returns how many the engine took, or -1 with an exception set.
    Py_ssize_t submit();

    // Claims and prepares an awaited operation. Returns false with an exception set.
    bool add_awaited(OperationObject* operation);

    // Allocates the memory of awaited reads. Reads that get none fail. Returns whether any failed.
    bool allocate_awaited(std::optional<engine::Pace> guess);

    // Submits all awaited operations that there is room for. One that can't be submitted fails
    // alone. Returns whether any operation was submitted or failed.
    bool submit_awaited();

private:
    bool prepare(Candidate& candidate, PyObject* eventfd);
    void plan(std::span<Candidate> candidates, std::optional<engine::Pace> guess);
    static bool prepare_read(const Candidate& candidate, LastAlignment& alignments);
    void enlist(Candidate& candidate);
    void withdraw(Candidate& candidate);
    void unclaim(Candidate& candidate);
    static void unclaim_awaited(Candidate& candidate);
    static void restore(OperationObject* operation, const Candidate& candidate);
    engine::Submission hand_over(std::span<Candidate> chosen);
    void name_eventfd(const Candidate& candidate) const;
    void add_candidate(OperationObject* operation);
    std::span<Candidate> candidates() noexcept { return slots_.span().first(count_); }

    ContextObject* context_;
    SmallArray<Candidate, most_awaited> slots_;
    std::size_t count_ = 0;     // of the slots, how many are candidates
    std::size_t prepared_ = 0;  // of the candidates, how many can be handed over
    SmallArray<engine::Request*, most_awaited> requests_;
};

// Returns how many awaited operations the context takes now: at least one if the first never
// queues.
std::size_t room_for(const ContextObject* context, const Candidate& first) noexcept {
    const auto* details = first.operation->details.get();
    const std::size_t least = details != nullptr && details->never_queues ? 1 : 0;
    return std::max(context->room(), least);
}

// Reaps, since the operation may have completed. Not part of claim(): reaping may run code that
// submits the operation to another context.
void look_for_completion(OperationObject* operation) {
    const OperationLock lock(operation);
    if (operation->state == OperationState::in_flight) {
        const auto context = Ref::borrow(operation->context.get());
        reap(static_cast<ContextObject*>(context.get()));
    }
}

bool Batch::claim(PyObject* object) {
    auto* operation = static_cast<OperationObject*>(object);
    look_for_completion(operation);
    const OperationLock lock(operation);
    const auto state = operation->state;
    if (state == OperationState::submitting || state == OperationState::in_flight ||
        operation->awaiter != nullptr) {
        PyErr_Format(PyExc_ValueError, "%R is in flight already, or twice in this batch", object);
        return false;
    }
    add_candidate(operation);
    OperationLife::await_no_more(operation);
    if (is_collectable(operation->listing)) {
        // getevents() no longer returns the last result, which frees its place
        auto* context = static_cast<ContextObject*>(slots_[count_ - 1].context_before.get());
        forget(context, operation);
        empty_eventfd_if_collected(context);
    }
    return true;
}

void Batch::add_candidate(OperationObject* operation) {
    auto& candidate = slots_[count_++];
    candidate.operation = static_cast<OperationObject*>(Py_NewRef(operation));
    candidate.listing_before = operation->listing;
    candidate.context_before = Ref::borrow(context_);
    candidate.state_before = OperationLife::claim(operation);
    swap(operation->context, candidate.context_before);
}

bool Batch::prepare(PyObject* eventfd) {
    const auto prepare_one = [&](Candidate& candidate) { return prepare(candidate, eventfd); };
    if (!std::ranges::all_of(candidates(), prepare_one) || !check_usable(context_)) {
        return false;
    }
    // The memory of reads comes last. It depends on the files, and the code of the program that the
    // steps before may run can change which files the operations have.
    prepared_ = std::min(count_, context_->room());
    const auto chosen = candidates().first(prepared_);
    plan(chosen, std::nullopt);
    LastAlignment alignments;
    return std::ranges::all_of(
        chosen, [&](const Candidate& candidate) { return prepare_read(candidate, alignments); });
}

void Batch::plan(std::span<Candidate> candidates, std::optional<engine::Pace> guess) {
    std::ranges::transform(candidates, requests_.span().begin(), [](const Candidate& candidate) {
        return &candidate.operation->request;
    });
    context_->engine()->plan(requests_.span().first(candidates.size()), guess);
}

bool Batch::prepare_read(const Candidate& candidate, LastAlignment& alignments) {
    auto& operation = *candidate.operation;
    return operation.kind != OperationKind::read || prepare_read_memory(operation, alignments);
}

bool Batch::prepare(Candidate& candidate, PyObject* eventfd) {
    auto* operation = candidate.operation;
    PyObject* to_signal = eventfd != nullptr ? eventfd : operation->eventfd.get();
    if (to_signal != nullptr) {
        const auto number = eventfd_number(state_of(context_), to_signal);
        if (!number) {
            return false;
        }
        candidate.eventfd_number = *number;
        operation->request.eventfd_is_checked =
            Py_IS_TYPE(to_signal, state_of(context_).eventfd_type);
        allow_try_reference(operation);  // the list of completed ones may hold no reference
    }
    candidate.eventfd = Ref::borrow(to_signal);
    const auto fd = operation->file.ask();
    if (!fd) {
        return false;
    }
    operation->request.fd = *fd;
    operation->request.offset = operation->offset;
    if (operation->kind == OperationKind::read) {
        operation->request.length = operation->nbytes;
        operation->request.takes_any_memory = true;
    }
    return !has_payload(operation->kind) || prepare_payload(*operation);
}

Py_ssize_t Batch::submit() {
    for (;;) {
        // prepare() or a signal handler may have closed the context
        if (!check_usable(context_)) {
            return -1;
        }
        const auto count = std::min(prepared_, context_->room());
        if (count == 0 && count_ != 0) {
            raise_queue_full(slots_[0].operation, context_->max_requests());
            return -1;
        }
        const auto [taken, error] = hand_over(candidates().first(count));
        if (error == EINTR) {
            if (PyErr_CheckSignals() != 0) {
                return -1;
            }
            continue;
        }
        if (error != 0) {
            raise_operation_error(slots_[0].operation, error);
            return -1;
        }
        return static_cast<Py_ssize_t>(taken);
    }
}

bool Batch::add_awaited(OperationObject* operation) {
    {
        const ObjectLock lock(operation);
        add_candidate(operation);
    }
    auto& candidate = slots_[count_ - 1];
    if (prepare(candidate, nullptr)) {
        return true;
    }
    const KeptException kept;
    unclaim_awaited(candidate);
    candidate = {};
    --count_;
    return false;
}

bool Batch::allocate_awaited(std::optional<engine::Pace> guess) {
    if (context_->engine() == nullptr) {
        return false;  // preparing has closed the context: they fail in the queue
    }
    plan(candidates(), guess);
    LastAlignment alignments;
    std::size_t prepared = 0;
    for (auto& candidate : candidates()) {
        if (prepare_read(candidate, alignments)) {
            std::swap(slots_[prepared++], candidate);
            continue;
        }
        fail_awaited(context_, candidate.operation);
        unclaim_awaited(candidate);
        candidate = {};
    }
    return std::exchange(count_, prepared) != prepared;
}

bool Batch::submit_awaited() {
    std::size_t next = 0;
    while (next < count_ && context_->engine() != nullptr && !context_->is_closing()) {
        const auto left = candidates().subspan(next);
        const auto chosen = left.first(std::min(left.size(), room_for(context_, left.front())));
        if (chosen.empty()) {
            break;
        }
        const auto [taken, error] = hand_over(chosen);
        next += taken;
        if (error == EAGAIN) {
            break;
        }
        if (error != 0 && error != EINTR) {
            raise_operation_error(chosen.front().operation, error);
            fail_awaited(context_, chosen.front().operation);
            ++next;
        }
    }
    // Operations that were not submitted go back to the head of the queue.
    for (auto place = count_; place > next; --place) {
        auto* operation = slots_[place - 1].operation;
        if (operation->awaiter != nullptr) {
            OperationLife::enqueue_in_front(context_, operation);
        }
    }
    for (auto& candidate : candidates()) {
        if (candidate.operation != nullptr) {
            unclaim_awaited(candidate);
        }
    }
    return next != 0;
}

engine::Submission Batch::hand_over(std::span<Candidate> chosen) {
    auto& engine = *context_->engine();
    std::size_t count = 0;
    bool may_block = chosen.size() > most_with_gil;
    for (auto& candidate : chosen) {
        auto& request = candidate.operation->request;
        enlist(candidate);
        requests_[count++] = &request;
        may_block = may_block || engine::may_block(request.pace);
    }
    const auto requests = requests_.span().first(count);
    engine::Submission submission;
    if (may_block) {
        context_->enter_engine(chosen.size());
        {
            const GilRelease release;
            submission = engine.submit(requests);
        }
        context_->leave_engine(chosen.size());
    } else {
        submission = engine.submit(requests);
    }
    context_->note_submission(chosen.size(), submission.taken);
    for (auto& candidate : chosen.subspan(submission.taken)) {
        withdraw(candidate);
    }
    if (submission.taken < chosen.size()) {
        tell_of_room(context_);  // no completion will tell of the places that are free again
    }
    // The operations that were taken may have completed, or been submitted again, by now: don't
    // touch them.
    for (auto& candidate : chosen.first(submission.taken)) {
        Py_CLEAR(candidate.operation);
    }
    return submission;
}

// Names the eventfd to signal: the program's, else the binding's or the context's own. If the
// operation will be over when the submission returns and the context's eventfd is not watched,
// names none, which spares the kernel the work.
void Batch::name_eventfd(const Candidate& candidate) const {
    const auto* operation = candidate.operation;
    auto& request = candidate.operation->request;
    request.signals_only_later = false;
    request.eventfd_may_block = static_cast<bool>(operation->eventfd);
    if (operation->eventfd) {
        request.eventfd = candidate.eventfd_number;
        return;
    }
    const bool is_watched = !operation->is_awaited && context_->eventfd_is_watched();
    request.eventfd_is_checked = true;
    request.signals_only_later = !is_watched;
    request.eventfd =
        operation->is_awaited ? eventfd_of_binding(context_) : context_->eventfd().get();
    if (engine::ends_inside(request.pace) && !is_watched) {
        request.eventfd = -1;
    }
}

void Batch::enlist(Candidate& candidate) {
    auto* operation = candidate.operation;
    swap(operation->eventfd, candidate.eventfd);
    name_eventfd(candidate);
    operation->request.owner = operation;
    OperationLife::begin_flight(context_, operation);
}

void Batch::withdraw(Candidate& candidate) {
    OperationLife::end_flight(context_, candidate.operation);
    swap(candidate.operation->eventfd, candidate.eventfd);
}

void Batch::unclaim(Candidate& candidate) {
    if (candidate.operation == nullptr) {
        return;
    }
    const auto held = Ref::steal(std::exchange(candidate.operation, nullptr));
    auto* operation = static_cast<OperationObject*>(held.get());
    {
        const OperationLock lock(operation);
        if (operation->awaiter != nullptr) {  // awaited while it seemed to be in flight
            const KeptException kept;
            PyErr_SetString(PyExc_RuntimeError, "the operation was not submitted: its turn did not "
                                                "come before submit() ended");
            fail_awaited(context_, operation);
            tell_loop(context_);
        }
        swap(operation->context, candidate.context_before);
    }
    const OperationLock lock(operation);  // another one, if it is another context
    restore(operation, candidate);
}

// The same for an operation that is awaited, with the context's lock held.
void Batch::unclaim_awaited(Candidate& candidate) {
    const auto held = Ref::steal(std::exchange(candidate.operation, nullptr));
    auto* operation = static_cast<OperationObject*>(held.get());
    {
        const ObjectLock lock(operation);
        swap(operation->context, candidate.context_before);
    }
    restore(operation, candidate);
}

void Batch::restore(OperationObject* operation, const Candidate& candidate) {
    OperationLife::unclaim(operation, candidate.state_before);
    if (is_collectable(candidate.listing_before) && operation->listing == Listing::none) {
        auto* context = context_of(operation);
        OperationLife::make_collectable(context, operation, candidate.listing_before);
        if (context->eventfd_is_watched() && context->eventfd().is_open() &&
            !context->is_inherited()) {
            signal_eventfd(context->eventfd().get());
        }
    }
    release_buffers(operation);
}

}  // namespace

Py_ssize_t submit(ContextObject* context, std::span<PyObject* const> operations,
                  PyObject* eventfd) {
    {
        const ContextLock lock(context);
        if (!check_usable(context)) {
            return -1;
        }
        reap(context);
    }
    Batch batch(context, operations);
    const auto claim = [&](PyObject* operation) { return batch.claim(operation); };
    if (!batch.is_allocated() || !std::ranges::all_of(operations, claim)) {
        return -1;
    }
    const ContextLock lock(context);
    return batch.prepare(eventfd) ? batch.submit() : -1;
}

bool may_complete_at_once(const ContextObject* context, OperationObject* operation) noexcept {
    if (!reads(operation->kind) || !operation->file.is_number() || context->engine() == nullptr ||
        context->is_closing()) {
        return false;
    }
    auto& request = operation->request;
    request.fd = operation->file.number();
    request.offset = operation->offset;
    if (operation->kind == OperationKind::read) {
        request.length = operation->nbytes;
    } else if (!operation->memory.is_exported()) {
        return false;
    }
    return context->engine()->is_worth_trying(request);
}

bool complete_at_once(ContextObject* context, OperationObject* operation,
                      std::chrono::steady_clock::time_point& now) noexcept {
    auto& request = operation->request;
    request.is_direct = false;
    LastAlignment alignments;
    if (operation->kind == OperationKind::read && !prepare_read_memory(*operation, alignments)) {
        PyErr_Clear();  // no memory: the submission will raise that
        return false;
    }
    const auto result = context->engine()->try_at_once(request, now);
    if (!result) {
        return false;
    }
    {
        const ObjectLock lock(operation);
        operation->context = Ref::borrow(context);
    }
    OperationLife::complete_at_once(context, operation, *result);
    return true;
}

bool submit_awaited(ContextObject* context, std::span<PyObject* const> operations,
                    std::optional<engine::Pace> pace) {
    Batch batch(context, operations);
    bool some_failed = false;
    // Once the operations are out of the queue, `held` keeps them: preparing one may run code that
    // drops another.
    SmallArray<Ref, most_awaited> held(operations.size());
    std::ranges::transform(operations, held.span().begin(), Ref::borrow);
    for (auto* object : operations) {
        auto* operation = static_cast<OperationObject*>(object);
        if (operation->listing == Listing::queued) {
            OperationLife::leave_queue(context->binding, operation);
        }
    }
    for (auto* object : operations) {
        auto* operation = static_cast<OperationObject*>(object);
        if (operation->file.runs_code() ||
            (has_payload(operation->kind) && !operation->memory.is_exported())) {
            pace.reset();  // preparing may run code that opens other files
        }
        if (operation->awaiter != nullptr && !batch.add_awaited(operation)) {
            fail_awaited(context, operation);
            some_failed = true;
        }
    }
    some_failed = batch.allocate_awaited(pace) || some_failed;
    return batch.submit_awaited() || some_failed;
}

}  // namespace python

// SPDX-License-Identifier: Apache-2.0
// The `auto` engine: takes the shortest route that does not block the caller, whatever the file.
//
//  - Data in memory (tmpfs or the page cache) is read by the submitting thread itself: preadv2(2)
//    costs less than io_submit(2). A read through the page cache is told not to wait (RWF_NOWAIT).
//    If it would have waited, the whole read takes another route, even if a part of it was cached:
//    so it is still one read.
//  - Direct reads of local disks, syncs and polls go to kernel AIO, whose submission does not wait
//    for those. Direct reads whose metadata is not in memory (file_facts.hpp), or that kernel AIO
//    refuses because they would wait, take another route. Each submission is timed: after one that
//    waited, the requests of its file take another route for a while.
//  - All other requests go to our threads. io_uring gets those that wait for a disk and can do so
//    there. Workers get long copies, writes to the page cache (which may have to make room for
//    them), and requests for files of which nothing is known.
//  - If the system refuses kernel AIO or io_uring, the other routes take over their requests.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>

#include "engine/engine.hpp"
#include "engine/file_facts.hpp"
#include "engine/hot_files.hpp"
#include "engine/mapped_pages.hpp"
#include "engine/pool_access.hpp"
#include "engine/readahead_probe.hpp"
#include "engine/routing.hpp"
#include "engine/side_by_side.hpp"

namespace engine {

class AutoEngine final : public Engine {
public:
    explicit AutoEngine(unsigned max_requests);

    const char* name() const noexcept override { return "auto"; }
    Pace guess(const Request& request) noexcept override;
    void plan(std::span<Request* const> requests, std::optional<Pace> guessed) noexcept override;
    bool is_worth_trying(const Request& request) noexcept override;
    std::optional<std::int64_t> try_at_once(
        Request& request, std::chrono::steady_clock::time_point& now) noexcept override;
    Submission submit(std::span<Request* const> requests) noexcept override;
    std::size_t reap(std::span<Completion> completions) noexcept override;
    Ticket ticket() noexcept override;
    int wait(Ticket ticket, Timeout timeout) noexcept override;
    CancelAnswer post_cancellation(Request& request) noexcept override;
    CancelAnswer post_cancellation_if_endless(Request& request) noexcept override;
    CancelAnswer wait_for_answer(Request& request, std::uint32_t flight,
                                 std::chrono::nanoseconds time) noexcept override;
    void wait_for_signals() noexcept override { pool_.wait_for_signals(); }
    RouteCounts routes() const noexcept override;

private:
    using Count = std::atomic<std::uint64_t>;

    using Clock = std::chrono::steady_clock;

    // The chance that the submitting thread can carry out a request itself.
    enum class Chance : std::uint8_t {
        none,
        slight,  // the read will miss, but the try makes the disk begin (readahead_probe.hpp)
        fair,
        sure,  // the result of the try is the request's result
    };
    struct Attempt {
        enum class Verdict : std::uint8_t {
            elsewhere,
            over,
            refused,
            out_of_turn,  // not tried, because a request before it was not taken
        };
        Verdict verdict = Verdict::elsewhere;
        std::int64_t result = 0;  // or an errno, if refused
    };
    // A submission on its way: the first `taken` requests are taken; those from there to `end` are
    // to be handed over together.
    struct Progress {
        std::span<Request* const> requests;
        std::size_t taken = 0;
        std::size_t end = 0;
        int error = 0;
        Clock::time_point now;       // as of the last look at the clock
        std::size_t since_then = 0;  // how many bytes were transferred since then
        // Carried out here, and not in the completion queue yet.
        RequestList finished;
        std::size_t finished_count = 0;
        Clock::time_point end_of_tries;
        MappedPages pages;
    };

    bool go_on(Progress& progress) noexcept;
    Attempt try_next(Progress& progress) noexcept;
    bool hand_over_waiting(Progress& progress) noexcept;

    Chance chance_of(Progress& progress, Request& request) noexcept;
    void note_slow_miss(Clock::duration time) noexcept;
    static Clock::duration look_at_clock(Progress& progress) noexcept;
    static bool is_still(HotFiles::Memory memory, int fd) noexcept;
    static Chance leave_to_workers(Request& request) noexcept;
    Attempt try_inside(Progress& progress, Chance chance) noexcept;
    static Attempt try_stream(Request& request) noexcept;
    static Attempt try_call(Request& request) noexcept;
    void finish_inside(Progress& progress, Request& request, std::int64_t result) noexcept;
    void publish_finished(Progress& progress) noexcept;
    std::uint64_t count_of(Reason reason) const noexcept;
    Submission hand_over(std::span<Request* const> requests) noexcept;
    Submission submit_to_kernel(std::span<Request* const> requests) noexcept;
    Submission submit_direct_to_threads(std::span<Request* const> requests,
                                        bool waits_in_submission) noexcept;
    Submission submit_to_threads(std::span<Request* const> requests) noexcept;
    void take_refusals() noexcept;
    void note_direct_waits(std::span<Request* const> requests) noexcept;
    bool goes_another_way(Completion& completion) noexcept;
    std::atomic<int>& slow_fd(const Request& request) noexcept;
    void note_way(const Request& request, bool is_inside) noexcept;

    Routing routing_;
    PoolAccess pool_;

    // Held by a thread from when it takes a completion from kernel AIO's ring until the completion
    // is in the queue. Other threads look into the queue with this lock held, too.
    std::mutex reaping_;

    std::mutex mutex_;  // guards the facts; held while routes are planned
    FileFacts facts_;

    ReadaheadProbe readahead_probe_;
    SideBySide side_by_side_;

    HotFiles hot_files_;

    // For guess(), by fd modulo the size: the number whose last read, or write, did not end inside.
    // Awaited reads of such a number are queued, to be submitted together: submitted one by one, 32
    // tasks that read what is not cached took a quarter longer.
    using SlowFds = std::array<std::atomic<int>, 256>;
    SlowFds slow_reads_;
    SlowFds slow_writes_;

    Count inside_ = 0, by_aio_ = 0, by_reactor_ = 0, by_workers_ = 0;
    std::array<Count, 6> by_reason_{};
};

}  // namespace engine

// SPDX-License-Identifier: Apache-2.0
// A queue on a private io_uring of the calling thread, which exists only during the call. The
// thread blocks until all requests have completed, so a submission may block, and no request
// outlives the ring.
#include <liburing.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <new>

#include "bulk/queue.hpp"
#include "engine/clofork_fd.hpp"
#include "engine/time.hpp"
#include "engine/uring_calls.hpp"

namespace bulk {
namespace {

using engine::uring_calls;
using std::chrono::nanoseconds;

// How many requests one submission has at most. The kernel holds back requests from the disk until
// the submission ends; with small ones the disk is busy while the next requests are prepared.
constexpr unsigned batch_size = 8;

int set_up(io_uring* ring, unsigned entries) noexcept {
    constexpr std::array choices{
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
        IORING_SETUP_COOP_TASKRUN,
        0U,
    };
    int status = -EINVAL;
    for (const auto flags : choices) {
        io_uring_params parameters{};
        parameters.flags = flags | IORING_SETUP_CLAMP;
        status = uring_calls.queue_init_params(entries, ring, &parameters);
        if (status != -EINVAL) {
            break;
        }
    }
    return status;
}

class UringQueue final : public Queue {
public:
    UringQueue() = default;
    UringQueue(const UringQueue&) = delete;
    UringQueue& operator=(const UringQueue&) = delete;
    ~UringQueue() override {
        if (is_open_) {
            const engine::ForkBarrier barrier;
            fd_.release(barrier);
            io_uring_queue_exit(&ring_);
        }
    }

    // Returns 0 or an errno.
    int open(unsigned depth) noexcept {
        if (!engine::may_have_kernel_workers()) {
            return EUSERS;
        }
        const engine::ForkBarrier barrier;
        const int status = set_up(&ring_, depth);
        if (status < 0) {
            return -status;
        }
        is_open_ = true;
        fd_.adopt(ring_.ring_fd, barrier);
        // A child process must not share the memory of this ring.
        io_uring_ring_dontfork(&ring_);
        return (ring_.features & IORING_FEAT_EXT_ARG) != 0 ? 0 : ENOSYS;
    }

    const char* name() const noexcept override { return "uring"; }

    int submit(Transfer& transfer) noexcept override {
        auto* entry = io_uring_get_sqe(&ring_);
        if (entry == nullptr) {
            flush();
            entry = io_uring_get_sqe(&ring_);
            if (entry == nullptr) {
                return EAGAIN;
            }
        }
        const auto length = static_cast<unsigned>(transfer.length);
        if (transfer.direction == Direction::read) {
            io_uring_prep_read(entry, transfer.fd, transfer.address, length, transfer.offset);
        } else {
            io_uring_prep_write(entry, transfer.fd, transfer.address, length, transfer.offset);
        }
        if (transfer.may_wait) {
            io_uring_sqe_set_flags(entry, IOSQE_ASYNC);
        }
        io_uring_sqe_set_data(entry, &transfer);
        if (io_uring_sq_ready(&ring_) >= batch_size) {
            flush();
        }
        return 0;
    }

    std::size_t wait(std::span<Transfer*> completed, nanoseconds timeout) noexcept override {
        if (const auto count = take(completed); count != 0) {
            flush();
            return count;
        }
        auto time = engine::to_timespec<__kernel_timespec>(timeout);
        io_uring_cqe* entry = nullptr;
        const int status = uring_calls.submit_and_wait_timeout(&ring_, &entry, 1, &time, nullptr);
        const auto count = take(completed);
        if (count == 0 && status < 0 && status != -ETIME && status != -EINTR) {
            // The kernel is short of memory. Requests that it did not take stay in the ring.
            const timespec pause{.tv_sec = 0, .tv_nsec = 100'000};
            nanosleep(&pause, nullptr);
        }
        return count;
    }

private:
    // Requests that the kernel does not take now stay in the ring until the next call.
    void flush() noexcept {
        if (io_uring_sq_ready(&ring_) != 0) {
            uring_calls.submit(&ring_);
        }
    }

    std::size_t take(std::span<Transfer*> completed) noexcept {
        std::size_t count = 0;
        io_uring_cqe* entry = nullptr;
        while (count < completed.size() && io_uring_peek_cqe(&ring_, &entry) == 0) {
            auto* transfer = static_cast<Transfer*>(io_uring_cqe_get_data(entry));
            transfer->result = entry->res;
            completed[count++] = transfer;
            io_uring_cqe_seen(&ring_, entry);
        }
        return count;
    }

    io_uring ring_{};
    engine::CloforkFd fd_;  // the ring's
    bool is_open_ = false;
};

}  // namespace

std::unique_ptr<Queue> open_uring_queue(unsigned depth, int& error) noexcept {
    auto queue = std::unique_ptr<UringQueue>(new (std::nothrow) UringQueue);
    error = queue == nullptr ? ENOMEM : queue->open(depth);
    if (error != 0) {
        return nullptr;
    }
    return queue;
}

}  // namespace bulk

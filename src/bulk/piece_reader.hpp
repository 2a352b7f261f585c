// SPDX-License-Identifier: Apache-2.0
// Reads parts of a file for another thread, which takes each piece when it has arrived.
//
// One thread is in run(), and never needs the GIL: it does not wait for a Python program that
// computes. All other functions are for other threads.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>

#include "bulk/load.hpp"
#include "engine/aligned_memory.hpp"
#include "engine/clofork_fd.hpp"
#include "engine/intrusive_list.hpp"

namespace bulk {

// A part of the file. Ranges are read ahead of the taker as far as the limit of memory allows.
// Those of the window that the taker is at are read whatever the limit.
struct Range {
    std::uint64_t offset;
    std::uint64_t length;
    std::uint64_t window;
};

struct Piece {
    Segment segment;               // the first field: the loader returns its address
    std::size_t index = 0;         // in the order of the ranges
    std::size_t place = 0;         // in the pool, if there is one
    engine::AlignedMemory memory;  // else
    Piece* next = nullptr;
    Piece* previous = nullptr;
};

class PieceReader final : private SegmentSource {
public:
    // With a pool, ranges are cut into pieces of `unit` bytes, each for a place of that size. With
    // none, each range is a piece with memory of its own, and at most about `memory` bytes are
    // read that the taker has not given back. The ranges and the pool must stay.
    PieceReader(std::span<const Range> ranges, std::span<std::byte> pool, std::size_t unit,
                std::uint64_t memory) noexcept;
    PieceReader(const PieceReader&) = delete;
    PieceReader& operator=(const PieceReader&) = delete;
    ~PieceReader() override;  // run() has returned

    // Reads all. Each arrival is signalled to the eventfd `wake_fd`, of which it uses a duplicate;
    // -1: to none.
    LoadReport run(const File& file, const LoadOptions& options, int wake_fd) noexcept;

    // Pieces in the order of their arrival, linked by `next`; the caller deletes them.
    Piece* take() noexcept;

    // Waits until a piece has arrived, or the time is up.
    void wait(std::chrono::nanoseconds timeout) noexcept;

    // The taker gives back the place in the pool, or so many bytes of memory.
    void give_back(std::uint64_t place_or_bytes) noexcept;

    // The taker now waits for ranges of this window.
    void set_window(std::uint64_t window) noexcept;

    // Ends run() soon.
    void stop() noexcept;

private:
    using List = engine::IntrusiveList<Piece, &Piece::previous, &Piece::next>;

    Next next(Segment*& segment, bool may_wait) noexcept override;
    bool finished(Segment& segment) noexcept override;
    bool tick(std::uint64_t done) noexcept override;

    bool has_pool() const noexcept { return !pool_.empty(); }
    bool find_room(const Range& range, std::size_t length, std::size_t& place) noexcept;
    void signal() noexcept;

    std::span<const Range> ranges_;
    std::span<std::byte> pool_;
    std::size_t unit_;
    std::uint64_t memory_;

    // of the thread that reads
    std::size_t range_ = 0;    // the next piece is of this one,
    std::uint64_t place_ = 0;  // and begins here in it
    std::size_t index_ = 0;
    bool has_no_memory_ = false;
    List issued_;
    engine::CloforkFd wake_;

    std::atomic<bool> is_stopped_{false};
    std::mutex mutex_;  // for what follows
    std::condition_variable room_came_;
    std::condition_variable piece_came_;
    std::unique_ptr<std::size_t[]> free_places_;
    std::size_t free_count_ = 0;
    std::uint64_t used_ = 0;
    std::uint64_t window_ = 0;
    List arrived_;
};

}  // namespace bulk

// SPDX-License-Identifier: Apache-2.0
// Reads parts of a file in one thread; another thread, the taker, takes each piece once it is read.
//
// The reading thread is inside run(). It never needs the GIL, so it goes on reading while a Python
// program computes. The taker and other threads call all the other functions.
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

// A part of the file. Ranges are read ahead of the taker as far as the limit on memory allows.
// The limit does not apply to ranges of the window that the taker waits for: see set_window().
struct Range {
    std::uint64_t offset;
    std::uint64_t length;
    std::uint64_t window;
};

struct Piece {
    Segment segment;               // the first field: the loader returns its address
    std::size_t index = 0;         // in the order of the ranges
    std::size_t place = 0;         // which place of the pool, if there is a pool
    engine::AlignedMemory memory;  // the piece's own memory, if there is no pool
    Piece* next = nullptr;
    Piece* previous = nullptr;
};

class PieceReader final : private SegmentSource {
public:
    // With a pool, ranges are cut into pieces of `unit` bytes, and the pool into places of that
    // size. Without one, each range is one piece with its own memory, and reading pauses when the
    // pieces not yet given back have about `memory` bytes. The ranges and the pool must outlive the
    // object.
    PieceReader(std::span<const Range> ranges, std::span<std::byte> pool, std::size_t unit,
                std::uint64_t memory) noexcept;
    PieceReader(const PieceReader&) = delete;
    PieceReader& operator=(const PieceReader&) = delete;
    ~PieceReader() override;  // only after run() has returned

    // Reads all ranges. When a piece has arrived it signals a duplicate of the eventfd `wake_fd`;
    // -1: no eventfd.
    LoadReport run(const File& file, const LoadOptions& options, int wake_fd) noexcept;

    // Pieces in the order of their arrival, linked by `next`; the caller deletes them.
    Piece* take() noexcept;

    // Waits until a piece has arrived, stop() was called, or the timeout has passed.
    void wait(std::chrono::nanoseconds timeout) noexcept;

    // The taker gives back a place: the number of the place in the pool or, without a pool, how
    // many bytes of memory.
    void give_back(std::uint64_t place_or_bytes) noexcept;

    // The taker now waits for ranges of this window.
    void set_window(std::uint64_t window) noexcept;

    // Makes run() return soon.
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

    // Only the reading thread uses these.
    std::size_t range_ = 0;    // the range that the next piece is cut from
    std::uint64_t place_ = 0;  // where in that range the next piece begins
    std::size_t index_ = 0;
    bool has_no_memory_ = false;
    List issued_;
    engine::CloforkFd wake_;

    std::atomic<bool> is_stopped_{false};
    std::mutex mutex_;  // guards the members from here on
    std::condition_variable room_came_;
    std::condition_variable piece_came_;
    std::unique_ptr<std::size_t[]> free_places_;
    std::size_t free_count_ = 0;
    std::uint64_t used_ = 0;
    std::uint64_t window_ = 0;
    List arrived_;
};

}  // namespace bulk

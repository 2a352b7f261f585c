// SPDX-License-Identifier: Apache-2.0
#include "bulk/piece_reader.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

#include "bulk/sizes.hpp"

namespace bulk {
namespace {

constexpr std::size_t alignment = 4096;

}  // namespace

PieceReader::PieceReader(std::span<const Range> ranges, std::span<std::byte> pool, std::size_t unit,
                         std::uint64_t memory) noexcept
    : ranges_(ranges), pool_(pool), unit_(unit), memory_(memory) {
    if (has_pool()) {
        const auto count = pool.size() / unit;
        free_places_.reset(new (std::nothrow) std::size_t[count]);
        has_no_memory_ = free_places_ == nullptr;
        while (!has_no_memory_ && free_count_ < count) {
            free_places_[free_count_] = free_count_;
            ++free_count_;
        }
    }
}

PieceReader::~PieceReader() {
    for (auto* pieces : {&issued_, &arrived_}) {
        while (const auto* piece = pieces->pop_front()) {
            delete piece;
        }
    }
}

LoadReport PieceReader::run(const File& file, const LoadOptions& options, int wake_fd) noexcept {
    if (wake_fd >= 0) {
        const engine::ForkBarrier barrier;
        wake_.adopt(fcntl(wake_fd, F_DUPFD_CLOEXEC, 0), barrier);
        if (!wake_.is_open()) {
            LoadReport report;
            report.error = errno;
            return report;
        }
    }
    auto report = load(file, options, *this);
    wake_.reset();
    if (has_no_memory_) {
        report.error = ENOMEM;
    }
    return report;
}

// Reserves room for the next piece: a place of the pool, or memory. The caller holds the lock.
bool PieceReader::find_room(const Range& range, std::size_t length, std::size_t& place) noexcept {
    if (has_pool()) {
        if (free_count_ == 0) {
            return false;
        }
        place = free_places_[--free_count_];
        return true;
    }
    if (used_ != 0 && used_ + length > memory_ && range.window > window_) {
        return false;
    }
    used_ += length;
    return true;
}

Next PieceReader::next(Segment*& segment, bool may_wait) noexcept {
    if (is_stopped_ || has_no_memory_) {
        return Next::stop;
    }
    if (range_ == ranges_.size()) {
        return Next::end;
    }
    const auto& range = ranges_[range_];
    const auto left = range.length - place_;
    const auto length =
        static_cast<std::size_t>(has_pool() ? std::min<std::uint64_t>(left, unit_) : left);
    if (!has_pool() && length != left) {  // more than the address space has
        has_no_memory_ = true;
        return Next::stop;
    }
    std::size_t place = 0;
    {
        std::unique_lock lock(mutex_);
        bool has_room = find_room(range, length, place);
        if (!has_room && may_wait) {
            room_came_.wait_for(lock, tick_interval);
            has_room = find_room(range, length, place);
        }
        if (!has_room) {
            return Next::later;
        }
    }
    auto* const piece = new (std::nothrow) Piece;
    if (piece != nullptr && !has_pool()) {
        piece->memory = engine::AlignedMemory(length, alignment);
    }
    if (piece == nullptr || (!has_pool() && piece->memory.data() == nullptr)) {
        delete piece;
        has_no_memory_ = true;
        return Next::stop;
    }
    piece->index = index_++;
    piece->place = place;
    piece->segment.offset = range.offset + place_;
    piece->segment.address = has_pool() ? pool_.data() + place * unit_ : piece->memory.data();
    piece->segment.length = length;
    issued_.push_back(*piece);
    place_ += length;
    if (place_ == range.length) {
        ++range_;
        place_ = 0;
    }
    segment = &piece->segment;
    return Next::segment;
}

bool PieceReader::finished(Segment& segment) noexcept {
    auto* const piece = reinterpret_cast<Piece*>(&segment);
    issued_.remove(*piece);
    bool was_empty = false;
    {
        const std::scoped_lock lock(mutex_);
        was_empty = arrived_.empty();
        arrived_.push_back(*piece);
    }
    if (was_empty) {
        signal();
    }
    return !is_stopped_;
}

bool PieceReader::tick(std::uint64_t /*done*/) noexcept { return !is_stopped_; }

void PieceReader::signal() noexcept {
    piece_came_.notify_one();
    if (wake_.is_open()) {
        const std::uint64_t one = 1;
        // The write fails only if the counter is full; the eventfd is readable then anyway.
        [[maybe_unused]] const auto count = write(wake_.get(), &one, sizeof(one));
    }
}

Piece* PieceReader::take() noexcept {
    const std::scoped_lock lock(mutex_);
    return std::exchange(arrived_, {}).front();
}

void PieceReader::wait(std::chrono::nanoseconds timeout) noexcept {
    std::unique_lock lock(mutex_);
    piece_came_.wait_for(lock, timeout, [this] { return !arrived_.empty() || is_stopped_; });
}

void PieceReader::give_back(std::uint64_t place_or_bytes) noexcept {
    {
        const std::scoped_lock lock(mutex_);
        if (has_pool()) {
            free_places_[free_count_++] = static_cast<std::size_t>(place_or_bytes);
        } else {
            used_ -= place_or_bytes;
        }
    }
    room_came_.notify_one();
}

void PieceReader::set_window(std::uint64_t window) noexcept {
    {
        const std::scoped_lock lock(mutex_);
        window_ = window;
    }
    room_came_.notify_one();
}

void PieceReader::stop() noexcept {
    is_stopped_ = true;
    {
        const std::scoped_lock lock(mutex_);  // else a thread about to wait could miss it
    }
    room_came_.notify_all();
    piece_came_.notify_all();
}

}  // namespace bulk

// SPDX-License-Identifier: Apache-2.0
// Signals of eventfds that threads of ours hold back, to send those of one eventfd by one write(2).
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "engine/descriptor_table.hpp"
#include "engine/eventfd_signal.hpp"
#include "engine/program_eventfd.hpp"

namespace engine {

struct Signal {
    FileRef* file = nullptr;  // the eventfd
    std::uint64_t count = 0;
    bool may_block = false;  // Request::eventfd_may_block
    int number = -1;         // in the program's table, if the file did not arrive in ours

    void send() const noexcept {
        if (file->fd >= 0) {
            signal_any_eventfd(file->fd, count, may_block);
        } else if (number >= 0) {
            signal_program_eventfd(number, count, may_block);
        }
    }
};

class SignalBatch {
public:
    SignalBatch() noexcept = default;
    SignalBatch(SignalBatch&& other) noexcept
        : size_(std::exchange(other.size_, 0)), count_(std::exchange(other.count_, 0)) {
        std::ranges::copy(std::span(other.signals_).first(size_), signals_.begin());
    }
    SignalBatch& operator=(SignalBatch&&) = delete;

    enum class Added : std::uint8_t {
        alone,
        to_another,  // the batch had a signal of this eventfd, and does not need its file twice
        no,          // there is no room
    };

    Added add(const Signal& signal) noexcept {
        const auto signals = std::span(signals_).first(size_);
        const auto found = std::ranges::find(signals, signal.file, &Signal::file);
        const bool is_new = found == signals.end();
        if (is_new && size_ == signals_.size()) {
            return Added::no;
        }
        count_ += signal.count;
        if (is_new) {
            signals_[size_++] = signal;
            return Added::alone;
        }
        found->count += signal.count;
        return Added::to_another;
    }

    bool is_empty() const noexcept { return size_ == 0; }

    // How many signals were added.
    std::uint64_t count() const noexcept { return count_; }

    // One for each eventfd.
    std::span<const Signal> signals() const noexcept { return std::span(signals_).first(size_); }

private:
    std::size_t size_ = 0;
    std::uint64_t count_ = 0;
    std::array<Signal, 64> signals_;
};

}  // namespace engine

// SPDX-License-Identifier: Apache-2.0
// A queue that submits to an engine. Used where the system has no io_uring, or where the program
// asked for another engine.
#include <algorithm>
#include <array>
#include <cerrno>
#include <new>
#include <optional>
#include <span>
#include <utility>

#include "bulk/queue.hpp"
#include "engine/engine.hpp"

namespace bulk {
namespace {

using std::chrono::nanoseconds;

struct Place {
    engine::Request request;  // the first field: an engine returns its address
    Transfer* transfer = nullptr;
};

class EngineQueue final : public Queue {
public:
    EngineQueue(std::unique_ptr<engine::Engine> engine, std::unique_ptr<Place[]> places,
                std::size_t count) noexcept
        : engine_(std::move(engine)),
          owned_places_(std::move(places)),
          places_(owned_places_.get(), count) {}

    const char* name() const noexcept override { return engine_->name(); }

    int submit(Transfer& transfer) noexcept override {
        const auto place = std::ranges::find(places_, nullptr, &Place::transfer);
        if (place == places_.end()) {
            return EAGAIN;
        }
        auto& request = place->request;
        request = {};
        request.opcode =
            transfer.direction == Direction::read ? engine::Opcode::read : engine::Opcode::write;
        request.fd = transfer.fd;
        request.offset = transfer.offset;
        request.address = transfer.address;
        request.length = transfer.length;
        const std::array<engine::Request*, 1> requests{&request};
        engine_->plan(requests, std::nullopt);
        place->transfer = &transfer;
        const auto submission = engine_->submit(requests);
        if (submission.taken == 1) {
            return 0;
        }
        place->transfer = nullptr;
        return submission.error;
    }

    std::size_t wait(std::span<Transfer*> completed, nanoseconds timeout) noexcept override {
        const auto ticket = engine_->ticket();
        if (const auto count = take(completed); count != 0) {
            return count;
        }
        engine_->wait(ticket, timeout);
        return take(completed);
    }

private:
    std::size_t take(std::span<Transfer*> completed) noexcept {
        std::array<engine::Completion, 32> completions;
        const auto most = std::min(completions.size(), completed.size());
        const auto count = engine_->reap(std::span(completions).first(most));
        for (std::size_t i = 0; i < count; ++i) {
            const auto place = std::ranges::find_if(places_, [&](const Place& candidate) {
                return &candidate.request == completions[i].request;
            });
            place->transfer->result = completions[i].result;
            completed[i] = std::exchange(place->transfer, nullptr);
        }
        return count;
    }

    std::unique_ptr<engine::Engine> engine_;
    std::unique_ptr<Place[]> owned_places_;
    std::span<Place> places_;
};

}  // namespace

std::unique_ptr<Queue> open_engine_queue(std::string_view engine, unsigned depth,
                                         int& error) noexcept {
    auto places = std::unique_ptr<Place[]>(new (std::nothrow) Place[depth]);
    auto opened = places != nullptr ? engine::open_engine(engine, depth, error) : nullptr;
    if (opened == nullptr) {
        error = places == nullptr ? ENOMEM : (error != 0 ? error : EINVAL);
        return nullptr;
    }
    auto queue = std::unique_ptr<Queue>(
        new (std::nothrow) EngineQueue(std::move(opened), std::move(places), depth));
    error = queue == nullptr ? ENOMEM : 0;
    return queue;
}

}  // namespace bulk

// SPDX-License-Identifier: Apache-2.0
// A reactor that passes all on to another, for those that change a part.
#pragma once

#include <chrono>
#include <memory>
#include <utility>

#include "engine/reactor.hpp"

class PassingReactor : public engine::Reactor {
public:
    explicit PassingReactor(std::unique_ptr<engine::Reactor> real) : real_(std::move(real)) {}

    int open() noexcept override { return real_->open(); }
    void start(engine::Request& request) noexcept override { real_->start(request); }
    void cancel(engine::Request& request) noexcept override { real_->cancel(request); }
    void wait(std::chrono::nanoseconds timeout) noexcept override { real_->wait(timeout); }
    void handle() noexcept override { real_->handle(); }
    bool take_back(engine::Request& request) noexcept override { return real_->take_back(request); }
    bool close_file(engine::Request& request) noexcept override {
        return real_->close_file(request);
    }
    void look_for_unread() noexcept override { real_->look_for_unread(); }

private:
    std::unique_ptr<engine::Reactor> real_;
};

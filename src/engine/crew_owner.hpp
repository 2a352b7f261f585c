// SPDX-License-Identifier: Apache-2.0
// A crew that an engine has, from its first use to the engine's end.
#pragma once

#include <memory>

#include "engine/crew.hpp"
#include "engine/fork_guard.hpp"

namespace engine {

class CrewOwner {
public:
    CrewOwner(CompletionQueue& completions, Crew::MakeReactor make_reactor,
              Crew::MakeReactor second_choice)
        : crew_(std::make_shared<Crew>(completions, make_reactor, second_choice)) {}
    CrewOwner(const CrewOwner&) = delete;
    CrewOwner& operator=(const CrewOwner&) = delete;

    ~CrewOwner() {
        if (fork_guard_.is_inherited()) {
            crew_->abandon();
        } else {
            crew_->close();
        }
    }

    Crew& operator*() const noexcept { return *crew_; }
    Crew* operator->() const noexcept { return crew_.get(); }

private:
    std::shared_ptr<Crew> crew_;
    ForkGuard fork_guard_;
};

}  // namespace engine

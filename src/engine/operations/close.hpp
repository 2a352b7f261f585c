// SPDX-License-Identifier: Apache-2.0
// close(2) of a number of the program.
#pragma once

#include "engine/call.hpp"

namespace engine {

class CloseCall final : public Call {
public:
    explicit CloseCall(int fd) noexcept : fd_(fd) {}
    ~CloseCall() override;

    Needs needs() const noexcept override { return Needs::programs_table; }
    std::optional<std::int64_t> try_at_once() noexcept override;
    std::int64_t run(const CallFiles& files) noexcept override;
    std::int64_t without_thread(int error) noexcept override;

private:
    const int fd_;
    bool is_left_ = false;  // still to be closed
};

}  // namespace engine

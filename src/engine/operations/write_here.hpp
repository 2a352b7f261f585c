// SPDX-License-Identifier: Apache-2.0
// write(2) at the file's position, which other processes may share, as that of standard output.
#pragma once

#include <cstddef>

#include "engine/call.hpp"

namespace engine {

class WriteHereCall final : public Call {
public:
    WriteHereCall(const char* data, std::size_t size) noexcept : data_(data), size_(size) {}

    Needs needs() const noexcept override { return Needs::files; }
    // Returns the bytes written, perhaps fewer than asked for.
    std::int64_t run(const CallFiles& files) noexcept override;

private:
    const char* const data_;
    const std::size_t size_;
};

}  // namespace engine

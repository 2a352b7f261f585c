// SPDX-License-Identifier: Apache-2.0
// Asks in one call for what linux_aio.open() has to know of an opened file. Also has the call of
// lseek(2): both may ask the file's server.
#pragma once

#include <cstdint>

#include "engine/call.hpp"

namespace engine {

struct FileDescription {
    unsigned mode = 0;  // as st_mode
    std::int64_t size = 0;
    std::int64_t position = 0;  // -1: the file has none
    bool is_terminal = false;
    bool is_local = false;  // see LocalMounts
};

// Describes an open file. May wait. Returns 0 or a negative errno.
std::int64_t describe(int fd, FileDescription& description) noexcept;

class DescribeCall final : public Call {
public:
    Needs needs() const noexcept override { return Needs::files; }
    std::int64_t run(const CallFiles& files) noexcept override {
        return describe(files.first, description_);
    }
    const FileDescription& description() const noexcept { return description_; }

private:
    FileDescription description_;
};

// lseek(2). It waits for transfers that use the file's position, and may ask the file's server.
class SeekCall final : public Call {
public:
    SeekCall(std::int64_t offset, int whence) noexcept : offset_(offset), whence_(whence) {}

    Needs needs() const noexcept override { return Needs::files; }
    std::int64_t run(const CallFiles& files) noexcept override;

private:
    const std::int64_t offset_;
    const int whence_;
};

}  // namespace engine

// SPDX-License-Identifier: Apache-2.0
// Reads the entries of a directory, many in one job, and their status if that is asked for.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "engine/call.hpp"
#include "engine/operations/open.hpp"

namespace engine {

struct ScannedEntry {
    std::uint64_t inode = 0;
    std::uint32_t name_offset = 0;
    std::uint16_t name_length = 0;
    std::uint8_t type = 0;    // DT_*
    bool has_status = false;  // either `status` or `status_error` is set
    bool has_target = false;  // a symbolic link: either `target` or `target_error` is set
    std::int32_t status_error = 0;
    std::int32_t target_error = 0;
    struct statx status{};
    struct statx target{};
};

class ScanCall final : public Call {
public:
    enum class Wants : std::uint8_t {
        names,
        types,   // of the entries, and of the targets of symbolic links
        status,  // of the entries, and of the targets of symbolic links
    };

    // `path` null: the request's fd is the directory, and is read from its position on. The call
    // stops after `most` entries or a few more, as the kernel gives several at a time; 0: it reads
    // all of them.
    ScanCall(const char* path, Wants wants, std::size_t most) noexcept
        : path_(path), wants_(wants), most_(most), directory_(-1, nullptr, 0, 0) {}

    Needs needs() const noexcept override {
        return path_ != nullptr ? Needs::rights : Needs::files;
    }
    Paths paths() const noexcept override { return {.first = path_}; }
    std::int64_t run(const CallFiles& files) noexcept override;
    void abandon() noexcept override { directory_.abandon(); }

    const std::vector<ScannedEntry>& entries() const noexcept { return entries_; }
    std::string_view name_of(const ScannedEntry& entry) const noexcept {
        return {names_.data() + entry.name_offset, entry.name_length};
    }

    // Whether there are no more entries. If there are, and the directory was opened by its path,
    // take() returns its number, as OpenCall::take() does, and another call can read on.
    bool is_at_end() const noexcept { return is_at_end_; }
    int take() noexcept { return directory_.take(); }

private:
    std::int64_t read(int fd);
    void add(int fd, std::uint64_t inode, std::uint8_t type, const char* name);
    void find_status(int fd, const char* name, ScannedEntry& entry) const;

    const char* const path_;
    const Wants wants_;
    const std::size_t most_;
    std::vector<ScannedEntry> entries_;
    std::vector<char> names_;
    bool is_at_end_ = false;
    OpenCall directory_;
};

}  // namespace engine

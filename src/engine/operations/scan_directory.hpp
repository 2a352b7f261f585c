// SPDX-License-Identifier: Apache-2.0
// The entries of a directory, many in one job, with their status where it is asked for.
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
    bool has_status = false;  // `status` was asked for: it is there, or `status_error`
    bool has_target = false;  // of a symbolic link: the same of what it leads to
    std::int32_t status_error = 0;
    std::int32_t target_error = 0;
    struct statx status{};
    struct statx target{};
};

class ScanCall final : public Call {
public:
    enum class Wants : std::uint8_t {
        names,
        types,   // also of what symbolic links lead to
        status,  // of the entries, and of what symbolic links lead to
    };

    // `path` null: the request's fd is the directory, and is read on from where it stands. At most
    // `most` entries, but for some that come with the last; 0: all of them.
    ScanCall(const char* path, Wants wants, std::size_t most) noexcept
        : path_(path), wants_(wants), most_(most), directory_(-1, nullptr, 0, 0) {}

    Needs needs() const noexcept override {
        return path_ != nullptr ? Needs::rights : Needs::files;
    }
    Paths paths() const noexcept override { return {.first = path_}; }
    std::int64_t run(const CallFiles& files) noexcept override;

    const std::vector<ScannedEntry>& entries() const noexcept { return entries_; }
    std::string_view name_of(const ScannedEntry& entry) const noexcept {
        return {names_.data() + entry.name_offset, entry.name_length};
    }

    // Whether there are no more entries; else the directory, which was opened by its path, is to be
    // taken, and read on from: as OpenCall::take().
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

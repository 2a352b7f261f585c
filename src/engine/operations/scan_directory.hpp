// SPDX-License-Identifier: Apache-2.0
// Reads the entries of a directory, many in one job, and their status if that is asked for.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <optional>
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

    // Where in the program's descriptor the call starts: at a place, or at the descriptor's
    // position. The descriptor is rewound after each call, so that a scan that ends early leaves it
    // so.
    struct Start {
        std::optional<std::int64_t> place;
    };

    // `path` null: the request's fd is the directory. Without `start` it is read from its position
    // on, and left where the call stops, or rewound at the end. The call stops after `most` entries
    // or a few more, as the kernel gives several at a time; 0: it reads all of them.
    ScanCall(const char* path, Wants wants, std::size_t most,
             std::optional<Start> start = std::nullopt) noexcept
        : path_(path), wants_(wants), most_(most), start_(start), directory_(-1, nullptr, 0, 0) {}

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
    // Where the next call has to start. No value if this call was not told where to.
    std::optional<std::int64_t> next() const noexcept { return next_; }
    int take() noexcept { return directory_.take(); }

private:
    std::int64_t read(int fd);
    std::int64_t read_from_start(int fd);
    void add(int fd, std::uint64_t inode, std::uint8_t type, const char* name);
    void find_status(int fd, const char* name, ScannedEntry& entry) const;

    const char* const path_;
    const Wants wants_;
    const std::size_t most_;
    const std::optional<Start> start_;
    std::optional<std::int64_t> next_;
    std::vector<ScannedEntry> entries_;
    std::vector<char> names_;
    bool is_at_end_ = false;
    OpenCall directory_;
};

}  // namespace engine

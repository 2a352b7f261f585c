// SPDX-License-Identifier: Apache-2.0
// A file that gets its name when it is complete: a program that opens the name, even after a crash,
// finds either the old file or the new one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "engine/operations/link_target.hpp"
#include "engine/unique_fd.hpp"

namespace engine {

// Gives the open file `target` the owner, extended attributes and mode of an old file, as far as
// that is allowed. Must be called in a thread that may wait. Returns 0 or a negative errno.
int keep_what_the_old_has(const LinkTarget& old, int target) noexcept;

// To be used in a thread that may wait. Each function returns 0 or a negative errno.
class NewFile {
public:
    // The form of the temporary name that the file may have at first. If the process is killed
    // meanwhile, the file keeps this name.
    enum class Names : std::uint8_t {
        ours,       // .linux-aio-RANDOM
        of_target,  // .NAME.RANDOM.tmp
    };

    NewFile(const LinkTarget& target, Names names) noexcept : target_(target), names_(names) {}
    NewFile(const NewFile&) = delete;
    NewFile& operator=(const NewFile&) = delete;
    ~NewFile() { remove(); }

    struct Contents {
        const char* data = nullptr;
        std::size_t size = 0;
        bool is_synced = false;     // sync the data before the file gets its name
        bool is_exclusive = false;  // fail with EEXIST if the name exists by then
    };

    // create() makes the file in the target's folder; write() fills it and gives it the name. The
    // new file gets the mode of an old one, and its owner and attributes as far as that is allowed.
    int create() noexcept;
    int write(const Contents& contents) noexcept;

    // Syncs the name to the disk. Called after a write() that synced the data.
    int sync_name() const noexcept { return sync_folder(target_.folder.get(), file_.get()); }

private:
    int create_with_name() noexcept;
    int fill(const Contents& contents) noexcept;
    int take_name(bool is_exclusive) noexcept;
    int take_free_name() noexcept;
    void make_name() noexcept;
    int link(const char* name) const noexcept;
    void remove() noexcept;

    const LinkTarget& target_;
    const Names names_;
    UniqueFd file_;
    bool has_name_ = false;
    std::array<char, 256> name_{};
};

}  // namespace engine

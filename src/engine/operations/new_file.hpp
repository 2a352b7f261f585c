// SPDX-License-Identifier: Apache-2.0
// A file that gets its name when it is whole: whoever opens the name, and whatever happens, finds
// the old file or the new one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "engine/operations/link_target.hpp"
#include "engine/unique_fd.hpp"

namespace engine {

// In a thread that may wait. Each function returns 0 or a negative errno.
class NewFile {
public:
    // Names that the file may have before its own, and for ever if the process is killed in
    // between.
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
        bool is_synced = false;     // the data is on the disk before the file has its name
        bool is_exclusive = false;  // EEXIST if there is such a name by then
    };

    // Makes the file beside the target; write() fills it and gives it the name. An old file leaves
    // its mode to it, and its owner and attributes as far as that is allowed.
    int create() noexcept;
    int write(const Contents& contents) noexcept;

    // Has the name on the disk; after a write() that was synced.
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

// SPDX-License-Identifier: Apache-2.0
#include "engine/operations/scan_directory.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <new>

#include "engine/local_mounts.hpp"
#include "engine/operations/stat.hpp"
#include "engine/operations/system_result.hpp"

namespace engine {
namespace {

// What getdents64(2) fills in; no header has it.
struct KernelEntry {
    std::uint64_t inode;
    std::int64_t offset;
    std::uint16_t length;
    std::uint8_t type;
    char name[1];
};
constexpr std::size_t name_place = 19;

bool is_dot_or_dot_dot(const char* name) noexcept {
    return std::strcmp(name, ".") == 0 || std::strcmp(name, "..") == 0;
}

std::uint8_t type_of_mode(unsigned mode) noexcept {
    return static_cast<std::uint8_t>(IFTODT(mode));
}

}  // namespace

std::int64_t ScanCall::run(const CallFiles& files) noexcept {
    if (directory_.keeps_opened()) {
        return directory_.run(files);
    }
    try {
        if (path_ == nullptr) {
            return start_ ? read_from_start(files.first) : read(files.first);
        }
        if (directory_.has_to_wait(files)) {
            return not_yet;
        }
        auto directory = open_uninterrupted([&] {
            return openat(files.first, path_, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK);
        });
        if (!directory.is_open()) {
            return -errno;
        }
        const auto result = read(directory.get());
        if (result < 0 || is_at_end_) {
            return result;
        }
        return directory_.hand_out(directory.release(), files);
    } catch (const std::bad_alloc&) {
        return -ENOMEM;
    }
}

std::int64_t ScanCall::read_from_start(int fd) {
    if (start_->place) {
        lseek(fd, *start_->place, SEEK_SET);
    }
    const auto result = read(fd);
    next_ = lseek(fd, 0, SEEK_CUR);
    lseek(fd, 0, SEEK_SET);
    return result;
}

std::int64_t ScanCall::read(int fd) {
    entries_.clear();
    names_.clear();
    alignas(KernelEntry) std::array<char, 16384> buffer;
    while (most_ == 0 || entries_.size() < most_) {
        auto length = result_of(syscall(__NR_getdents64, fd, buffer.data(), buffer.size()));
        if (length == -EINTR) {
            continue;
        }
        if (length == -ENOENT) {
            length = 0;  // a directory that was removed has no entries: readdir(3) says so, too
        }
        if (length < 0) {
            return length;
        }
        if (length == 0) {
            is_at_end_ = true;
            if (path_ == nullptr) {
                lseek(fd, 0, SEEK_SET);  // the program's descriptor, which it may read again
            }
            break;
        }
        for (std::int64_t place = 0; place < length;) {
            const char* start = buffer.data() + place;
            KernelEntry entry;
            std::memcpy(&entry, start, name_place);
            const char* name = start + name_place;
            if (!is_dot_or_dot_dot(name)) {
                add(fd, entry.inode, entry.type, name);
            }
            place += entry.length;
        }
    }
    return static_cast<std::int64_t>(entries_.size());
}

void ScanCall::add(int fd, std::uint64_t inode, std::uint8_t type, const char* name) {
    const auto length = std::strlen(name);
    ScannedEntry entry{.inode = inode,
                       .name_offset = static_cast<std::uint32_t>(names_.size()),
                       .name_length = static_cast<std::uint16_t>(length),
                       .type = type};
    names_.insert(names_.end(), name, name + length);
    find_status(fd, name, entry);
    entries_.push_back(entry);
}

void ScanCall::find_status(int fd, const char* name, ScannedEntry& entry) const {
    if (wants_ == Wants::names) {
        return;
    }
    if (wants_ == Wants::status || entry.type == DT_UNKNOWN) {
        entry.has_status = true;
        entry.status_error =
            static_cast<int>(-engine::find_status(fd, name, AT_SYMLINK_NOFOLLOW, entry.status));
        if (entry.status_error == 0 && entry.type == DT_UNKNOWN) {
            entry.type = type_of_mode(entry.status.stx_mode);
        }
    }
    if (entry.type == DT_LNK) {
        entry.has_target = true;
        entry.target_error = static_cast<int>(-engine::find_status(fd, name, 0, entry.target));
    }
}

}  // namespace engine

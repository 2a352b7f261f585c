// SPDX-License-Identifier: Apache-2.0
#include "engine/file_facts.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "engine/page_cache.hpp"

namespace engine {
namespace {

constexpr std::uint16_t longest_pause = 128;
constexpr std::uint16_t longest_direct_pause = 4096;

// After so many hits in a row, the kernel is no longer asked before each read of the file.
constexpr std::uint8_t hits_of_hot_file = 8;

// After so many misses in a row, the kernel is not asked before some of the next reads: they are
// taken for misses. A few reads of data that has become cached then take the slower way.
constexpr std::uint8_t misses_of_cold_file = 64;
constexpr std::uint8_t misses_after_proof = 8;

constexpr std::uint16_t proof_of_extents = 64;
constexpr std::uint16_t reads_after_proof = 1024;

// Whether no file of such a file system can be read with RWF_NOWAIT. Of a cached file of overlayfs
// cachestat(2) says that it is not cached, because the pages belong to the file of the layer below.
bool lacks_nowait(FileSystem file_system) noexcept {
    return file_system == FileSystem::overlay || file_system == FileSystem::fuse ||
           file_system == FileSystem::nfs;
}

}  // namespace

// --- looking

FileFacts::Look FileFacts::look_at(int fd) noexcept {
    Look look{.fd = fd};
    if (fcntl(fd, F_GET_SEALS) >= 0) {
        look.access = Access::memory;
        return look;
    }
    const int flags = fcntl(fd, F_GETFL);
    if (flags < 0) {
        return look;
    }
    look.access = Access::buffered;
    if ((flags & O_DIRECT) == 0) {
        return look;
    }
    look.status = status_of(fd);
    look.access = Access::direct_far;
    if (look.status.type == S_IFBLK) {
        look.access = Access::direct;
    } else if (look.status.type == S_IFREG) {
        look.file_system = file_system_of(look.status);
        if (is_local_disk(look.file_system)) {
            // ext4 with data=journal, for one, reads such a file through its cache
            const bool is_cached =
                look.status.knows_alignment && look.status.transfer_alignment == 0;
            look.access = is_cached ? Access::buffered : Access::direct;
        }
    }
    return look;
}

// --- what is known

void FileFacts::Pause::extend(std::uint16_t most) noexcept {
    length = static_cast<std::uint16_t>(std::min(length * 2 + 4, int{most}));
    left = length;
}

bool FileFacts::Pause::takes() noexcept {
    if (left == 0) {
        return false;
    }
    --left;
    return true;
}

FileFacts::File& FileFacts::file_at(int fd) noexcept {
    return files_[static_cast<std::size_t>(fd) % files_.size()];
}

// Returns the facts of the file that the number belongs to now, and drops those of another file.
FileFacts::File& FileFacts::renew(int fd, const FileIdentity& identity) noexcept {
    auto& file = file_at(fd);
    if (file.fd != fd || file.identity != identity) {
        file = {.fd = fd, .identity = identity};
    }
    return file;
}

FileFacts::Device& FileFacts::device_at(std::uint64_t number) noexcept {
    const auto found = std::ranges::find(devices_, number, &Device::number);
    if (found != devices_.end()) {
        return *found;
    }
    auto& device = devices_[next_device_];
    next_device_ = (next_device_ + 1) % devices_.size();
    device = {.number = number};
    return device;
}

// --- reads through the page cache

FileFacts::Advice FileFacts::advise(int fd, std::uint64_t offset, std::size_t length,
                                    MappedPages* pages) noexcept {
    auto& file = file_at(fd);
    const bool is_known = file.fd == fd;
    if (is_known && file.is_unsupported) {
        const auto status = status_of(fd);
        if (status.identity == file.identity) {
            return advise_unsupported(fd, status, offset, length, pages);
        }
        file = {};
    }
    if (careful_ != 0) {
        --careful_;
    } else if (is_known && file.hits >= hits_of_hot_file) {
        return Advice::try_it;
    }
    if (is_known && file.unasked_misses != 0) {
        --file.unasked_misses;
        return Advice::misses;
    }
    FileStatus status;
    switch (is_cached(fd, offset, length, status)) {
        case InMemory::yes:
            file.misses = 0;
            return Advice::try_it;
        case InMemory::no:
            return advise_uncached(fd, status, offset, length, pages);
        case InMemory::unknown:
            break;
    }
    return advise_by_pauses(fd);
}

FileFacts::Advice FileFacts::advise_uncached(int fd, const FileStatus& status, std::uint64_t offset,
                                             std::size_t length, MappedPages* pages) noexcept {
    auto& file = file_at(fd);
    if (file.fd != fd || file.identity != status.identity) {
        renew(fd, status.identity).is_unsupported = lacks_nowait(file_system_of(status));
    }
    if (file.is_unsupported) {
        return advise_unsupported(fd, status, offset, length, pages);
    }
    if (++file.misses >= misses_of_cold_file) {
        --file.misses;
        file.unasked_misses = misses_after_proof;
    }
    return Advice::misses;
}

FileFacts::Advice FileFacts::advise_unsupported(int fd, const FileStatus& status,
                                                std::uint64_t offset, std::size_t length,
                                                MappedPages* pages) noexcept {
    const bool is_there = pages != nullptr && file_system_of(status) == FileSystem::overlay &&
                          pages->has(fd, status, offset, length) == InMemory::yes;
    return is_there ? Advice::reads_at_once : Advice::unsupported;
}

// Advises where the kernel can't tell what is cached: by the results of earlier reads of the file,
// or of other files on the device.
FileFacts::Advice FileFacts::advise_by_pauses(int fd) noexcept {
    const auto& known = file_at(fd);
    if (known.fd == fd && known.pause.left == 0 && known.hits != 0) {
        return Advice::try_it;
    }
    const auto identity = status_of(fd).identity;
    const bool is_new = known.fd != fd || known.identity != identity;
    auto& file = renew(fd, identity);
    auto& pause = is_new ? device_at(identity.device).pause : file.pause;
    return pause.takes() ? Advice::misses : Advice::try_it;
}

bool FileFacts::note_hit(int fd) noexcept {
    auto& file = file_at(fd);
    if (file.fd != fd) {
        file = {.fd = fd};
    }
    file.pause = {};
    file.misses = 0;
    file.unasked_misses = 0;
    file.hits = std::min<std::uint8_t>(static_cast<std::uint8_t>(file.hits + 1), hits_of_hot_file);
    return file.hits >= hits_of_hot_file && careful_ == 0;
}

void FileFacts::note_miss(int fd) noexcept {
    const auto identity = status_of(fd).identity;
    const bool is_first = file_at(fd).identity != identity || file_at(fd).pause.length == 0;
    auto& file = renew(fd, identity);
    file.hits = 0;
    file.pause.extend(longest_pause);
    if (is_first) {
        device_at(identity.device).pause.extend(longest_pause);
    }
}

void FileFacts::note_unsupported(int fd) noexcept {
    renew(fd, status_of(fd).identity).is_unsupported = true;
}

// --- direct reads

bool FileFacts::may_submit_direct(const Look& look, std::uint64_t offset,
                                  std::size_t length) noexcept {
    auto& file = renew(look.fd, look.status.identity);
    if (file.direct_pause.takes()) {
        return false;
    }
    if (look.file_system != FileSystem::ext4) {
        return true;
    }
    if (file.unasked != 0) {
        --file.unasked;
        return true;
    }
    if (are_extents_known(look.fd, look.status, offset, length) == InMemory::no) {
        file.known_extents = 0;
        return false;
    }
    if (++file.known_extents >= proof_of_extents) {
        file.known_extents = 0;
        file.unasked = reads_after_proof;
    }
    return true;
}

void FileFacts::note_direct_wait(int fd) noexcept {
    if (auto& file = file_at(fd); file.fd == fd) {
        file.direct_pause.extend(longest_direct_pause);
        file.unasked = 0;
        file.known_extents = 0;
    }
}

}  // namespace engine

// SPDX-License-Identifier: Apache-2.0
// Facts about files and their devices, which the `auto` engine learns from the reads that it makes.
//
// The facts are stored by file descriptor, and a number may belong to another file by now. So
// facts that would do harm if stale are asked of the kernel each time, by calls that cost a tenth
// of a read: whether the file is in memory (F_GET_SEALS, which only tmpfs and hugetlbfs know) and
// whether it is open for direct I/O (F_GETFL). All other facts are either checked against the
// file's identity before use, or cost little if they are wrong.
//
// No function here waits or asks a server (file_status.hpp, page_cache.hpp).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "engine/file_status.hpp"
#include "engine/mapped_pages.hpp"

namespace engine {

class FileFacts {
public:
    enum class Access : std::uint8_t {
        bad,         // no file at all
        memory,      // never waits for a disk
        buffered,    // through the page cache, if the file has one
        direct,      // O_DIRECT, on a disk of this machine
        direct_far,  // O_DIRECT, on a disk, a server or anything else
    };

    struct Look {
        int fd = -1;
        Access access = Access::bad;
        FileStatus status;  // only of files that are open for direct I/O
        FileSystem file_system = FileSystem::unknown;
    };

    static Look look_at(int fd) noexcept;

    // Advice on a read through the page cache. `pages` serves the questions of one submission. It
    // is null if the caller does not want to ask for the pages of a read that can't be told not to
    // wait.
    enum class Advice : std::uint8_t {
        try_it,         // try the read, told not to wait (RWF_NOWAIT)
        reads_at_once,  // the read can't be told not to wait, but its data is in memory
        misses,         // the read would wait
        unsupported,    // the read can't be told not to wait, and may wait
    };
    Advice advise(int fd, std::uint64_t offset, std::size_t length, MappedPages* pages) noexcept;

    // Store the result of a try. note_hit() returns whether all recent reads of the file hit.
    bool note_hit(int fd) noexcept;
    void note_miss(int fd) noexcept;
    void note_unsupported(int fd) noexcept;
    // Notes that a try took so long that it seems to have waited in spite of RWF_NOWAIT. For a
    // while, reads are then tried only if the kernel says that their data is in memory.
    void note_wait() noexcept { careful_ = careful_reads; }

    // Whether a direct read may be submitted in the caller's thread: no submission for the file
    // waited lately, and the metadata that the read needs is in memory.
    bool may_submit_direct(const Look& look, std::uint64_t offset, std::size_t length) noexcept;

    // Notes that the submission of a direct read of the file waited, or would have had to wait.
    void note_direct_wait(int fd) noexcept;

private:
    // After a miss, a number of reads are not tried. The number grows with each miss, until a read
    // hits.
    struct Pause {
        std::uint16_t length = 0;
        std::uint16_t left = 0;

        void extend(std::uint16_t most) noexcept;
        bool takes() noexcept;  // counts as one read
    };

    struct File {
        int fd = -1;
        FileIdentity identity;  // all 0: not asked for yet
        bool is_unsupported = false;
        std::uint8_t hits = 0;            // in a row
        std::uint8_t misses = 0;          // in a row, as the kernel says
        std::uint8_t unasked_misses = 0;  // reads for which it need not be asked again
        Pause pause;
        Pause direct_pause;
        std::uint16_t known_extents = 0;  // direct reads in a row whose metadata was in memory
        std::uint16_t unasked = 0;        // direct reads for which this need not be asked again
    };
    struct Device {
        std::uint64_t number = 0;
        Pause pause;  // of first reads of files
    };

    File& file_at(int fd) noexcept;
    File& renew(int fd, const FileIdentity& identity) noexcept;
    Device& device_at(std::uint64_t number) noexcept;
    Advice advise_by_pauses(int fd) noexcept;
    Advice advise_uncached(int fd, const FileStatus& status, std::uint64_t offset,
                           std::size_t length, MappedPages* pages) noexcept;
    static Advice advise_unsupported(int fd, const FileStatus& status, std::uint64_t offset,
                                     std::size_t length, MappedPages* pages) noexcept;

    static constexpr std::uint16_t careful_reads = 4096;

    std::array<File, 256> files_{};  // by fd modulo its size
    std::array<Device, 16> devices_{};
    std::size_t next_device_ = 0;
    std::uint16_t careful_ = 0;  // for so many reads, the kernel is asked before they are tried
};

}  // namespace engine

// SPDX-License-Identifier: Apache-2.0
// What the `auto` engine has learnt of files, and of the devices that they are on, from the reads
// that it made.
//
// A number may have been closed and be another file's by now. So what would do harm if it were
// stale is asked anew each time, by calls that cost a tenth of a read: whether the file is in
// memory (F_GET_SEALS, which only tmpfs and hugetlbfs know) and whether it is open for direct I/O
// (F_GETFL). What was learnt of a file is held against its identity before it is used, or is a
// guess that costs little if it is wrong.
//
// Nothing here waits, nor asks a server (file_status.hpp, page_cache.hpp).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "engine/file_status.hpp"

namespace engine {

class FileFacts {
public:
    enum class Access : std::uint8_t {
        bad,         // no file at all
        memory,      // never waits for a disk
        buffered,    // through the page cache, if it is a file that has one
        direct,      // O_DIRECT, on a disk of this machine
        direct_far,  // O_DIRECT, on what may be anything
    };

    struct Look {
        int fd = -1;
        Access access = Access::bad;
        FileStatus status;  // of what is open for direct I/O
        FileSystem file_system = FileSystem::unknown;
    };

    static Look look_at(int fd) noexcept;

    // What to do with a read through the page cache.
    enum class Advice : std::uint8_t {
        try_it,         // told not to wait
        reads_at_once,  // it can't be told not to wait, but the data is in memory
        misses,         // it would wait
        unsupported,    // it can't be told not to wait, and may
    };
    Advice advise(int fd, std::uint64_t offset, std::size_t length) noexcept;

    // What came of trying. Of a hit, returns whether the file's reads always hit lately.
    bool note_hit(int fd) noexcept;
    void note_miss(int fd) noexcept;
    void note_unsupported(int fd) noexcept;
    // A try took so long that it seems to have waited, all the same: for a while, reads are only
    // tried if the kernel says that the data is there.
    void note_wait() noexcept { careful_ = careful_reads; }

    // Whether a direct read may be submitted in the caller's thread: the file did not wait lately,
    // and its metadata is in memory.
    bool may_submit_direct(const Look& look, std::uint64_t offset, std::size_t length) noexcept;

    // A submission of a direct read waited, or would have had to.
    void note_direct_wait(int fd) noexcept;

private:
    // Reads that are not tried after a miss: ever more of them, until one hits.
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
        std::uint8_t hits = 0;  // in a row
        Pause pause;
        Pause direct_pause;
        std::uint16_t known_extents = 0;  // direct reads in a row whose metadata was in memory
        std::uint16_t unasked = 0;        // direct reads for which that need not be asked
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
                           std::size_t length) noexcept;
    static Advice advise_unsupported(int fd, const FileStatus& status, std::uint64_t offset,
                                     std::size_t length) noexcept;

    static constexpr std::uint16_t careful_reads = 4096;

    std::array<File, 256> files_{};  // by fd modulo its size
    std::array<Device, 16> devices_{};
    std::size_t next_device_ = 0;
    std::uint16_t careful_ = 0;  // so many reads are asked about first
};

}  // namespace engine

// SPDX-License-Identifier: Apache-2.0
// What the `auto` engine knows of the files behind fd numbers.
//
// A number may have been closed and be another file's by now, so what would do harm if it were
// stale is asked anew each time, by calls that cost a tenth of a read: whether the file is in
// memory (F_GET_SEALS, which only tmpfs and hugetlbfs know) and whether it is open for direct I/O
// (F_GETFL). What was learnt is held against the identity of the file before it is used.
//
// Nothing here waits, nor asks a server: statx(2) is told not to sync.
#pragma once

#include <array>
#include <cstdint>

namespace engine {

class FileBook {
public:
    enum class Medium : std::uint8_t {
        bad,         // no file at all
        memory,      // never waits for a disk
        buffered,    // through the page cache, if it is a file that has one
        direct,      // O_DIRECT, on a disk on which kernel AIO does not wait for it
        direct_far,  // O_DIRECT, on what may be anything
    };

    struct Look {
        int fd = -1;
        Medium medium = Medium::bad;
    };

    static Look look_at(int fd) noexcept;

    // Which file a number is, for as long as no code of the program's runs.
    class Known;

    // Whether reads of the file are better not tried without waiting: they missed the page cache,
    // or the file can't tell. Counts as one read.
    enum class Advice : std::uint8_t { try_it, misses, unsupported };
    Advice advise(int fd, Known& known) noexcept;

    void note_hit(int fd) noexcept;
    void note_miss(int fd) noexcept;
    void note_unsupported(int fd) noexcept;

private:
    struct Identity {
        std::uint64_t device = 0;
        std::uint64_t inode = 0;
        bool operator==(const Identity&) const = default;
    };
    struct Entry {
        int fd = -1;
        Identity identity;
        bool is_unsupported = false;
        std::uint8_t pause = 0;  // after the last miss: so many reads are not tried
        std::uint8_t left = 0;   // of these
    };

    static Identity identify(int fd) noexcept;
    Entry& entry_of(int fd) noexcept;
    Entry& renew(int fd) noexcept;

    std::array<Entry, 256> entries_{};  // by fd modulo its size
};

class FileBook::Known {
    friend class FileBook;
    int fd_ = -1;
    Identity identity_;
};

}  // namespace engine

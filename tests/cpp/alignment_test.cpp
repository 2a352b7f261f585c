// SPDX-License-Identifier: Apache-2.0
// What direct I/O needs, where statx(2) does not tell it, as before Linux 6.1.
#include "engine/alignment.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "check.hpp"
#include "engine/unique_fd.hpp"
#include "fixtures.hpp"
#include "sandbox.hpp"

// In place of the C library's, whose names for these are reserved.
// NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name)
extern "C" int statx(int folder, const char* path, int flags, unsigned mask,
                     struct statx* status) noexcept {
    constexpr unsigned dioalign = 0x2000;
    const auto result = static_cast<int>(syscall(__NR_statx, folder, path, flags, mask, status));
    status->stx_mask &= ~dioalign;
    return result;
}

namespace {

using engine::Alignment;
using engine::UniqueFd;

void expect(int fd, std::uint32_t alignment, check::Where where = check::Where::current()) {
    Alignment found;
    check::equal(engine::find_alignment(fd, found), 0, where);
    check::equal(found.memory, alignment, where);
    check::equal(found.transfer, alignment, where);
}

std::uint32_t page() { return static_cast<std::uint32_t>(sysconf(_SC_PAGESIZE)); }

std::uint32_t number_in(const std::filesystem::path& path) {
    std::uint32_t number = 0;
    std::ifstream(path) >> number;
    return number;
}

// One that can be opened.
UniqueFd block_device(std::uint32_t& block) {
    std::error_code none;
    for (const auto& entry : std::filesystem::directory_iterator("/sys/block", none)) {
        UniqueFd fd(open(("/dev/" + entry.path().filename().string()).c_str(),
                         O_RDONLY | O_NONBLOCK | O_CLOEXEC));
        block = number_in(entry.path() / "queue/logical_block_size");
        if (fd.is_open() && block != 0) {
            return fd;
        }
    }
    throw check::Skipped("no block device that can be opened");
}

void test_block_devices() {
    std::uint32_t block = 0;
    const auto device = block_device(block);
    expect(device.get(), block);
    std::thread([&] {
        sandbox::refuse(__NR_ioctl, EPERM);
        expect(device.get(), page());
    }).join();
}

// Of the device that it is on, whole or a part of it.
void test_files_on_a_disk() {
    const auto file = fixtures::file_on_disk();
    struct stat status{};
    fixtures::succeeded(fstat(file.get(), &status));
    const std::filesystem::path device = "/sys/dev/block/" + std::to_string(major(status.st_dev)) +
                                         ":" + std::to_string(minor(status.st_dev));
    auto block = number_in(device / "queue/logical_block_size");
    if (block == 0) {
        block = number_in(device / "../queue/logical_block_size");
    }
    if (block == 0) {
        throw check::Skipped("the file system is on no device of its own");
    }
    expect(file.get(), block);
}

void test_files_of_which_nothing_is_known() {
    const UniqueFd file(fixtures::succeeded(open("/proc/self/maps", O_RDONLY | O_CLOEXEC)));
    expect(file.get(), page());
    expect(fixtures::memory_file("data").get(), 1);
}

void test_what_is_not_open() {
    Alignment found;
    check::equal(engine::find_alignment(-1, found), EBADF);
}

}  // namespace

int main() {
    return check::run({
        {"block devices", test_block_devices},
        {"files on a disk", test_files_on_a_disk},
        {"files of which nothing is known", test_files_of_which_nothing_is_known},
        {"what is not open", test_what_is_not_open},
    });
}

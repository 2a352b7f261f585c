// SPDX-License-Identifier: Apache-2.0
#include "engine/file_mapping.hpp"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.hpp"
#include "engine/page_cache.hpp"
#include "engine/unique_fd.hpp"
#include "fixtures.hpp"

namespace {

using engine::FileMapping;

const auto page = engine::page_size();

bool is_mapped(void* address) {
    unsigned char answer = 0;
    return mincore(address, page, &answer) == 0;
}

engine::UniqueFd make_file() {
    auto file = fixtures::memory_file("");
    fixtures::succeeded(ftruncate(file.get(), static_cast<off_t>(10 * page)));
    return file;
}

void test_mapping() {
    const auto file = make_file();
    FileMapping mapping;
    check::is_true(mapping.address() == nullptr, "nothing at first");
    check::is_true(mapping.map(file.get(), page, 2 * page - 1), "mapped");
    check::equal(mapping.size(), 2 * page);
    auto* const address = mapping.address();
    check::is_true(is_mapped(address) && is_mapped(address + page), "both pages");
    mapping.unmap();
    check::is_true(mapping.address() == nullptr && !is_mapped(address), "unmapped");
    check::is_true(!mapping.map(-1, 0, page) && mapping.address() == nullptr, "no file");
}

// A child has no mapping, and leaves alone what it has itself at that address.
void test_children() {
    const auto file = make_file();
    FileMapping mapping;
    check::is_true(mapping.map(file.get(), 0, page), "mapped");
    auto* const address = mapping.address();
    const auto child = fork();
    if (child == 0) {
        const bool has_none = mapping.address() == nullptr && !is_mapped(address);
        const auto* const own = mmap(address, page, PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        mapping.unmap();
        const bool is_left_alone = own == address && is_mapped(address);
        const bool maps_again = mapping.map(file.get(), 0, page) && mapping.address() != nullptr;
        _exit(has_none && is_left_alone && maps_again ? 0 : 1);
    }
    int status = -1;
    fixtures::succeeded(waitpid(child, &status, 0));
    check::equal(status, 0);
    check::is_true(mapping.address() == address && is_mapped(address), "still mapped here");
}

}  // namespace

int main() {
    return check::run({
        {"a mapping", test_mapping},
        {"child processes", test_children},
    });
}

// SPDX-License-Identifier: Apache-2.0
#include "engine/submit_classifier.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "engine/alignment.hpp"
#include "engine/file_status.hpp"
#include "engine/time.hpp"

namespace engine {
namespace {

constexpr std::int64_t lifetime = 10'000'000;  // ns

}  // namespace

Pace SubmitClassifier::expect(const Request& request) noexcept {
    if (!transfers_data(request.opcode)) {
        return Pace::asynchronous;
    }
    if (request.fd < 0) {
        return Pace::at_once;  // refused
    }
    const std::lock_guard lock(mutex_);
    auto& file = files_[static_cast<std::size_t>(request.fd) % files_.size()];
    if (file.fd != request.fd || coarse_now() - file.checked_at > lifetime) {
        file = look_at(request.fd);
    }
    const bool may_wait = (request.rw_flags & RWF_NOWAIT) == 0;
    switch (file.medium) {
        case Medium::memory:
            return request.memory_may_wait ? Pace::inside : Pace::at_once;
        case Medium::disk:
            if (!file.is_direct) {
                return may_wait || request.memory_may_wait ? Pace::inside : Pace::at_once;
            }
            if (request.memory_may_wait || size_of(request) > quickly_pinned) {
                return Pace::unknown;
            }
            return may_wait && !is_read(request.opcode) ? Pace::unknown : Pace::asynchronous;
        case Medium::unknown:
            break;
    }
    return may_wait || request.memory_may_wait ? Pace::unknown : Pace::asynchronous;
}

SubmitClassifier::File SubmitClassifier::look_at(int fd) noexcept {
    File file{.fd = fd, .checked_at = coarse_now()};
    const auto status = status_of(fd);
    if (status.error != 0) {
        return file;
    }
    file.is_direct = is_direct(fd);
    if (status.type == S_IFBLK) {
        file.medium = Medium::disk;
    } else if (status.type == S_IFREG) {
        const auto file_system = file_system_of(status);
        if (file_system == FileSystem::memory || fcntl(fd, F_GET_SEALS) >= 0) {
            file.medium = Medium::memory;
        } else if (is_local_disk(file_system)) {
            file.medium = Medium::disk;
        }
    }
    return file;
}

}  // namespace engine

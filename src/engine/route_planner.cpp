// SPDX-License-Identifier: Apache-2.0
#include "engine/route_planner.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "engine/file_status.hpp"
#include "engine/file_type.hpp"
#include "engine/stream_transfer.hpp"

namespace engine {
namespace {

// One worker is enough for transfers of so many bytes. Of larger ones, even memory is copied faster
// by two: 1 MiB reads of tmpfs by 1.7 times.
constexpr std::size_t most_brief = std::size_t{32} * 1024;

// Whether a write ends only once its data is on the disk. RWF_NOWAIT does not change that.
bool syncs_in_write(const Request& request) noexcept {
    constexpr int waits_for_disk = RWF_DSYNC | RWF_SYNC;
    return is_write(request.opcode) && ((request.rw_flags & waits_for_disk) != 0 ||
                                        (fcntl(request.fd, F_GETFL) & O_DSYNC) != 0);
}

}  // namespace

void RoutePlanner::plan(std::span<Request* const> requests) noexcept {
    FileFacts::Look look;
    for (auto* request : requests) {
        request->is_direct = false;
        request->is_brief = false;
        request->reason = Reason::other;
        request->is_tried = false;
        request->is_aligned_later = false;
        request->is_only_tried = false;
        request->only_waits = leaves_bytes(*request);
        request->is_ready = false;
        request->source.reset();
        request->is_in_memory = false;
        request->waits_in_submission = false;
        if (request->opcode == Opcode::call) {
            Routing::send_inside(*request, Pace::perhaps);
            continue;
        }
        if (request->opcode == Opcode::poll) {
            plan_poll(*request);
            continue;
        }
        if (!transfers_data(request->opcode)) {
            plan_sync(*request);
            continue;
        }
        if (look.fd != request->fd) {
            look = FileFacts::look_at(request->fd);
        }
        plan_transfer(*request, look);
    }
}

// Sends a poll to the reactor if kernel AIO must not have it: that of a signalfd, which it never
// completes; that of a file with two wait queues, which it refuses: a FIFO that is open for reading
// and writing, and devices such as terminals; and that of a file with a server, which may not
// answer. Kernel AIO gets all others.
void RoutePlanner::plan_poll(Request& request) noexcept {
    const auto status = status_of(request.fd);
    const bool may_have_two_queues =
        status.type == S_IFCHR ||
        (status.type == S_IFIFO && (fcntl(request.fd, F_GETFL) & O_ACCMODE) == O_RDWR);
    if (status.error == 0 &&
        (may_have_two_queues || (status.type == 0 && is_signalfd(request.fd)))) {
        Routing::send_to_reactor(request, Reason::other);
        return;
    }
    if (may_have_server(request.fd, status)) {
        request.waits_in_submission = true;
        Routing::send_to_reactor(request, Reason::other);
        return;
    }
    routing_.send_to_kernel(request, Reason::other);
}

// A sync by kernel AIO takes one of the kernel's threads, which all processes share.
void RoutePlanner::plan_sync(Request& request) noexcept {
    if (may_have_server(request.fd, status_of(request.fd))) {
        routing_.send_blocking(request, Reason::other);
    } else {
        routing_.send_to_kernel(request, Reason::other);
    }
}

void RoutePlanner::plan_transfer(Request& request, const FileFacts::Look& look) noexcept {
    if (request.memory_may_wait && look.access != FileFacts::Access::bad) {
        // A page of the program's memory may have to be read from a file first.
        request.is_direct =
            is_read(request.opcode) && (look.access == FileFacts::Access::direct ||
                                        look.access == FileFacts::Access::direct_far);
        Routing::send_to_workers(request, Reason::other, false);
        return;
    }
    if (request.at_position && look.access != FileFacts::Access::bad) {
        plan_at_position(request, look);
        return;
    }
    switch (look.access) {
        case FileFacts::Access::bad:
            Routing::send_inside(request, Pace::at_once);  // fails there
            break;
        case FileFacts::Access::memory:
            // Only a thread can have, or be refused, a priority. A write waits for the file's lock,
            // which another process may hold for long.
            if (size_of(request) <= most_inside && request.priority == 0 &&
                is_read(request.opcode)) {
                Routing::send_inside(request, Pace::perhaps);
                request.is_in_memory = true;
                hot_files_.add(request.fd, HotFiles::Memory::file_system);
            } else {
                const bool is_small = size_of(request) <= most_inside;
                Routing::send_to_workers(request, is_small ? Reason::write : Reason::large,
                                         size_of(request) <= most_brief);
            }
            break;
        case FileFacts::Access::direct:
        case FileFacts::Access::direct_far:
            plan_direct(request, look);
            break;
        case FileFacts::Access::buffered:
            plan_buffered(request);
            break;
    }
}

// Another thread or process may hold the lock of a file's position for as long as its transfer
// takes, so a worker waits for it. Streams have no position.
void RoutePlanner::plan_at_position(Request& request, const FileFacts::Look& look) noexcept {
    if (!is_stream(request.fd)) {
        request.is_direct =
            is_read(request.opcode) && (look.access == FileFacts::Access::direct ||
                                        look.access == FileFacts::Access::direct_far);
        Routing::send_to_workers(request, is_read(request.opcode) ? Reason::other : Reason::write,
                                 false);
    } else if (is_read(request.opcode) && size_of(request) <= most_inside) {
        Routing::send_inside(request, Pace::perhaps);
    } else {
        Routing::send_to_reactor(request, Reason::stream);
    }
}

void RoutePlanner::plan_direct(Request& request, const FileFacts::Look& look) noexcept {
    const bool is_large = size_of(request) > quickly_pinned;
    if (is_write(request.opcode)) {
        if (is_large || look.access == FileFacts::Access::direct_far) {
            Routing::send_to_workers(request, Reason::large, false);
        } else {
            routing_.send_blocking(request, Reason::write);
        }
        return;
    }
    request.is_direct = true;
    request.tried_file = look.status.identity;
    if (wants_no_wait(request) && !is_large) {
        routing_.send_to_kernel(request, Reason::other);
    } else if (is_large || look.access == FileFacts::Access::direct_far) {
        Routing::send_to_workers(request, is_large ? Reason::large : Reason::other, false);
        request.is_aligned_later = is_large && request.takes_any_memory;
        request.is_direct = !request.is_aligned_later;
    } else if (facts_.may_submit_direct(look, request.offset, size_of(request))) {
        routing_.send_to_kernel(request, Reason::other);
        request.is_only_tried = look.file_system == FileSystem::btrfs;
    } else {
        request.waits_in_submission = true;
        routing_.send_blocking(request, Reason::other);
    }
}

void RoutePlanner::plan_buffered(Request& request) noexcept {
    if (size_of(request) > most_inside) {
        Routing::send_to_workers(request, Reason::large, false);
    } else if (request.priority == 0 &&
               (is_read(request.opcode) || (wants_no_wait(request) && !syncs_in_write(request)))) {
        Routing::send_inside(request, Pace::perhaps);
    } else if (is_read(request.opcode)) {
        routing_.send_blocking(request, Reason::other);
    } else {
        const bool is_brief = size_of(request) <= most_brief && !syncs_in_write(request);
        Routing::send_to_workers(request, Reason::write, is_brief);
    }
}

}  // namespace engine

// SPDX-License-Identifier: Apache-2.0
#include "bulk/load.hpp"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <new>
#include <span>

#include "bulk/cached_readers.hpp"
#include "bulk/pacer.hpp"
#include "bulk/page_cache.hpp"
#include "bulk/queue.hpp"
#include "bulk/sizes.hpp"
#include "engine/aligned_memory.hpp"
#include "engine/file_status.hpp"
#include "engine/fork_guard.hpp"

namespace bulk {
namespace {

using Clock = Pacer::Clock;

// One request can read several segments if at most so many bytes lie between them.
constexpr std::size_t most_gap = 4096;

// A smaller part with unaligned ends is read into the slot's bounce memory and copied from there:
// that costs less than separate requests for the ends.
constexpr std::size_t least_straight = 65536;

// How many segments one request can read at most.
constexpr std::size_t most_targets = 64;

// Cached data is copied in parts, each as large as so many requests, but at most most_cached_part.
constexpr std::size_t cached_chunks = 4;
constexpr std::size_t most_cached_part = std::size_t{4} << 20U;

// Smaller parts are copied by the calling thread: waking another one would take longer.
constexpr std::size_t least_shared = std::size_t{512} << 10U;

// More threads do not copy faster: the memory's bandwidth is used up.
constexpr unsigned most_readers = 4;

// How long the loader waits for a helper thread while requests are in flight, too.
constexpr std::chrono::milliseconds brief_wait{1};

constexpr std::size_t huge_page = std::size_t{2} << 20U;

// The least alignment of the bounce memory, which direct reads go to.
constexpr std::size_t bounce_alignment = 4096;

// The number of processors that this thread may run on.
unsigned processors() noexcept {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof(set), &set) == 0 ? static_cast<unsigned>(CPU_COUNT(&set))
                                                        : 1;
}

// A part of a request's bytes, and the place in a segment where it belongs.
struct Target {
    Segment* segment;
    std::size_t place;  // the part's offset in the segment
    std::uint64_t offset;
    std::size_t length;
};

// A request, its targets, and the bounce memory that it is read to if the program's memory or the
// offset is not aligned.
struct Slot {
    Transfer transfer;
    bool is_busy = false;
    bool is_bounced = false;
    Clock::time_point started;
    std::array<Target, most_targets> targets;
    std::size_t target_count = 0;
    engine::AlignedMemory bounce;
};

Reads reads_of(const File& file) noexcept {
    if (!file.can_be_direct()) {
        return Reads::buffered;
    }
    return engine::may_have_server(file.direct_fd, engine::status_of(file.direct_fd))
               ? Reads::direct_from_server
               : Reads::direct;
}

class Loader {
public:
    Loader(const File& file, const LoadOptions& options, SegmentSource& source) noexcept
        : file_(file),
          mode_(options.direct),
          engine_(options.engine),
          source_(source),
          page_cache_(options.direct == DirectMode::where_it_pays || !file.can_be_direct()
                          ? file.buffered_fd
                          : -1),
          transfer_alignment_(std::max(file.alignment.transfer, least_transfer_alignment)),
          end_of_direct_(round_down(INT64_MAX, transfer_alignment_)),
          memory_alignment_(std::max(file.alignment.memory, 1U)),
          chunk_(chunk_of(options.chunk, file.can_be_direct() ? transfer_alignment_ : 1)),
          owned_slots_(new (std::nothrow) Slot[depth_of(options.depth)]),
          slots_(owned_slots_.get(), owned_slots_ != nullptr ? depth_of(options.depth) : 0),
          pacer_(depth_of(options.depth)),
          last_tick_(Clock::now()) {
        report_.chunk = chunk_;
        report_.depth = static_cast<unsigned>(slots_.size());
        report_.engine = likely_queue(engine_, reads_of(file_));
    }
    Loader(const Loader&) = delete;
    Loader& operator=(const Loader&) = delete;
    ~Loader() {
        if (report_.forked) {
            // The ring, the threads and the requests belong to the parent: free none of them here.
            static_cast<void>(queue_.release());
            static_cast<void>(cached_readers_.release());
        }
    }

    LoadReport run() noexcept;

private:
    bool is_over() const noexcept { return report_.error != 0 || report_.stopped; }
    void fail(int error, std::uint64_t offset) noexcept;
    void tick_if_due(Clock::time_point now) noexcept;
    void give_up_in_child() noexcept;

    // --- the next piece
    bool advance(bool may_wait) noexcept;
    bool issue() noexcept;
    bool read_cached() noexcept;
    bool is_cached(std::size_t most) noexcept;
    CachedReaders* cached_readers() noexcept;
    void plan_buffered(Slot& slot, std::size_t most) noexcept;
    void plan_direct(Slot& slot) noexcept;
    void plan_bounced(Slot& slot, std::uint64_t start) noexcept;
    bool peek_next(std::uint64_t end, std::uint64_t limit) noexcept;
    bool goes_straight(std::uint64_t offset, const std::byte* address) const noexcept;
    void take(Slot& slot, std::size_t length) noexcept;
    bool send(Slot& slot) noexcept;
    bool open_queue_once() noexcept;

    // --- completions
    void reap_cached(std::chrono::nanoseconds timeout) noexcept;
    void deliver_cached(const CachedPart& part) noexcept;
    void reap(bool wait) noexcept;
    void complete(Slot& slot) noexcept;
    void continue_buffered(Slot& slot, std::size_t done) noexcept;
    void deliver(Slot& slot, std::size_t length) noexcept;
    void account(Segment& segment, std::size_t loaded, std::size_t missing) noexcept;
    std::size_t read_rest(std::uint64_t offset, std::byte* address, std::size_t length) noexcept;

    const File file_;
    DirectMode mode_;
    std::string_view engine_;
    SegmentSource& source_;
    PageCache page_cache_;
    std::uint32_t transfer_alignment_;
    std::uint64_t end_of_direct_;  // no aligned request can read the bytes from here on
    std::uint32_t memory_alignment_;
    std::size_t chunk_;
    std::unique_ptr<Slot[]> owned_slots_;
    std::span<Slot> slots_;
    std::unique_ptr<Queue> queue_;
    Pacer pacer_;
    std::unique_ptr<CachedReaders> cached_readers_;
    bool has_tried_readers_ = false;
    unsigned parts_in_flight_ = 0;  // given to cached_readers_
    Clock::time_point last_tick_;
    engine::ForkGuard fork_guard_;
    LoadReport report_;

    Segment* current_ = nullptr;  // the segment that is being read
    std::size_t place_ = 0;       // how much of it was requested or copied
    bool has_more_ = true;
    unsigned in_flight_ = 0;
    // Where a read found the end of the file.
    std::uint64_t end_of_file_ = UINT64_MAX;
};

LoadReport Loader::run() noexcept {
    if (slots_.empty()) {
        fail(ENOMEM, 0);
    }
    for (;;) {
        while (!is_over() && in_flight_ < pacer_.allowed() &&
               advance(in_flight_ + parts_in_flight_ == 0) && issue()) {
            tick_if_due(Clock::now());
        }
        if (report_.forked) {
            break;
        }
        if (is_over() && parts_in_flight_ != 0) {
            cached_readers_->stop();
            parts_in_flight_ = 0;
        }
        if (parts_in_flight_ != 0) {
            reap_cached(in_flight_ != 0 ? brief_wait : tick_interval);
            if (in_flight_ != 0) {
                reap(false);
            }
        } else if (in_flight_ != 0) {
            reap(true);
        } else if (is_over() || (!has_more_ && current_ == nullptr)) {
            break;
        }
        tick_if_due(Clock::now());
    }
    report_.end_of_file = end_of_file_;
    return report_;
}

// Keeps the first error for the report.
void Loader::fail(int error, std::uint64_t offset) noexcept {
    if (report_.error == 0) {
        report_.error = error;
        report_.error_offset = offset;
    }
}

// In a child process, stops the load: requests never complete there, because the ring and the
// threads belong to the parent.
void Loader::give_up_in_child() noexcept {
    if (fork_guard_.is_inherited()) {
        report_.forked = true;
        report_.stopped = true;
        in_flight_ = 0;
        parts_in_flight_ = 0;
    }
}

void Loader::tick_if_due(Clock::time_point now) noexcept {
    if (now - last_tick_ >= tick_interval && !is_over()) {
        last_tick_ = now;
        report_.stopped = !source_.tick(report_.loaded);
        give_up_in_child();
    }
}

// Takes the next segment from the source if the current one has nothing left. Returns false if
// there is none now.
bool Loader::advance(bool may_wait) noexcept {
    while (current_ == nullptr || place_ == current_->length) {
        current_ = nullptr;
        place_ = 0;
        if (!has_more_ || is_over()) {
            return false;
        }
        Segment* segment = nullptr;
        const auto next = source_.next(segment, may_wait);
        give_up_in_child();
        if (next == Next::segment) {
            segment->pending = segment->length;
            segment->loaded = 0;
            if (segment->length == 0) {
                report_.stopped = !source_.finished(*segment) || report_.stopped;
                continue;
            }
            if (segment->offset >= end_of_file_) {
                account(*segment, 0, segment->length);
                continue;
            }
            current_ = segment;
        } else {
            has_more_ = next == Next::later;
            report_.stopped = report_.stopped || next == Next::stop;
            return false;
        }
    }
    return true;
}

// Copies the next piece of the current segment from the page cache, or sends a request for it.
// Returns false if the loader can't go on now.
bool Loader::issue() noexcept {
    const auto offset = current_->offset + place_;
    const auto left = current_->length - place_;
    const auto most = std::min(left, chunk_);
    if (offset >= end_of_file_) {
        place_ = current_->length;
        account(*current_, 0, left);
        return true;
    }
    bool is_direct = mode_ == DirectMode::always;
    if (mode_ != DirectMode::always || !file_.can_be_direct()) {
        const auto residency = page_cache_.residency(offset, most);
        if (residency == Residency::all) {
            return read_cached();
        }
        is_direct = mode_ == DirectMode::where_it_pays && residency != Residency::most;
    }
    if (is_direct && offset >= end_of_direct_) {
        is_direct = false;
        if (file_.buffered_fd < 0) {
            end_of_file_ = std::min(end_of_file_, offset);
            return true;
        }
    }
    if (!open_queue_once()) {
        return false;
    }
    const auto slot = std::ranges::find(slots_, false, &Slot::is_busy);
    slot->target_count = 0;
    if (is_direct && file_.can_be_direct()) {
        plan_direct(*slot);
    } else {
        plan_buffered(*slot, most);
    }
    if (is_over()) {
        return false;
    }
    return send(*slot);
}

bool Loader::open_queue_once() noexcept {
    if (queue_ == nullptr) {
        int error = 0;
        const auto depth = static_cast<unsigned>(slots_.size());
        queue_ = open_queue(engine_, depth, reads_of(file_), error);
        if (queue_ == nullptr) {
            fail(error, 0);
            return false;
        }
        report_.engine = queue_->name();
    }
    return true;
}

// Copies the next piece from the page cache, without a request. Helper threads copy large pieces.
bool Loader::read_cached() noexcept {
    const auto usual = std::min(chunk_, most_cached_part / cached_chunks) * cached_chunks;
    const auto most = is_cached(usual) ? usual : chunk_;  // the caller knows that a chunk is
    auto* const address = current_->address + place_;
    auto length = std::min(current_->length - place_, most);
    if (length > huge_page && length < current_->length - place_) {
        // The part ends at a huge page, since two threads that fill a new huge page both clear it.
        length -= (reinterpret_cast<std::uintptr_t>(address) + length) % huge_page;
    }
    CachedPart part{.segment = current_,
                    .offset = current_->offset + place_,
                    .address = address,
                    .length = length};
    place_ += length;
    auto* const readers = length >= least_shared ? cached_readers() : nullptr;
    if (readers == nullptr) {
        read_part(file_.buffered_fd, part);
        deliver_cached(part);
        return !is_over();
    }
    while (!readers->add(part)) {
        reap_cached(tick_interval);
        if (is_over()) {
            return false;
        }
    }
    ++parts_in_flight_;
    while (!is_over() && readers->has_backlog()) {  // in a child, its lock may be held for ever
        reap_cached(std::chrono::nanoseconds(0));
    }
    return !is_over();
}

bool Loader::is_cached(std::size_t most) noexcept {
    const auto offset = current_->offset + place_;
    return page_cache_.residency(offset, std::min(current_->length - place_, most)) ==
           Residency::all;
}

// Starts the helper threads at the first call. Null if there is one processor, or no memory.
CachedReaders* Loader::cached_readers() noexcept {
    if (!has_tried_readers_) {
        has_tried_readers_ = true;
        const auto depth = static_cast<unsigned>(slots_.size());
        if (const auto count = std::min({processors(), most_readers, depth}); count > 1) {
            cached_readers_.reset(new (std::nothrow) CachedReaders(file_.buffered_fd));
            if (cached_readers_ != nullptr) {
                cached_readers_->start(count - 1);
            }
        }
    }
    return cached_readers_.get();
}

// Reads a waiting part or, if there is none, waits for a helper to finish one; then takes all parts
// that were read.
void Loader::reap_cached(std::chrono::nanoseconds timeout) noexcept {
    CachedPart part;
    if (cached_readers_->run_one()) {
        timeout = std::chrono::nanoseconds(0);
    }
    while (!report_.forked && cached_readers_->take_done(part, timeout)) {
        timeout = std::chrono::nanoseconds(0);
        --parts_in_flight_;
        deliver_cached(part);
    }
    tick_if_due(Clock::now());
}

void Loader::deliver_cached(const CachedPart& part) noexcept {
    if (part.error != 0) {
        fail(part.error, part.offset + part.done);
        return;
    }
    if (part.done < part.length) {
        end_of_file_ = std::min(end_of_file_, part.offset + part.done);
    }
    report_.cached += part.done;
    account(*part.segment, part.done, part.length - part.done);
}

void Loader::plan_buffered(Slot& slot, std::size_t most) noexcept {
    slot.is_bounced = false;
    slot.transfer.fd = file_.buffered_fd;
    slot.transfer.offset = current_->offset + place_;
    slot.transfer.address = current_->address + place_;
    slot.transfer.length = most;
    slot.transfer.may_wait = true;
    take(slot, most);
}

bool Loader::goes_straight(std::uint64_t offset, const std::byte* address) const noexcept {
    return offset % transfer_alignment_ == 0 &&
           reinterpret_cast<std::uintptr_t>(address) % memory_alignment_ == 0;
}

void Loader::plan_direct(Slot& slot) noexcept {
    const auto offset = current_->offset + place_;
    auto* const address = current_->address + place_;
    const auto left = current_->length - place_;
    slot.transfer.fd = file_.direct_fd;
    slot.transfer.may_wait = false;
    const bool ends_aligned = left % transfer_alignment_ == 0;
    if (!goes_straight(offset, address) || (left < least_straight && !ends_aligned)) {
        plan_bounced(slot, round_down(offset, transfer_alignment_));
        return;
    }
    const auto length =
        static_cast<std::size_t>(round_down(std::min(left, chunk_), transfer_alignment_));
    slot.is_bounced = false;
    slot.transfer.offset = offset;
    slot.transfer.address = address;
    slot.transfer.length = length;
    take(slot, length);
}

// Reads an aligned range of the file into the slot's bounce memory. When it has arrived, its parts
// are copied to their segments. The range ends before a large part that a direct read can put
// straight into its segment.
void Loader::plan_bounced(Slot& slot, std::uint64_t start) noexcept {
    if (slot.bounce.size() == 0) {
        slot.bounce = engine::AlignedMemory(
            chunk_, std::max<std::size_t>(bounce_alignment, memory_alignment_));
        if (slot.bounce.size() == 0) {
            fail(ENOMEM, start);
            return;
        }
    }
    const auto limit = std::min(start + chunk_, end_of_direct_);
    auto end = start;
    do {
        const auto offset = current_->offset + place_;
        const auto left = current_->length - place_;
        auto length = static_cast<std::size_t>(std::min<std::uint64_t>(left, limit - offset));
        const auto aligned = round_up(offset, transfer_alignment_);
        const auto before = static_cast<std::size_t>(aligned - offset);
        if (before < length && left - before >= least_straight &&
            goes_straight(aligned, current_->address + place_ + before)) {
            if (before == 0) {
                break;  // this later segment needs no bounce memory
            }
            length = before;
        }
        take(slot, length);
        end = offset + length;
    } while (slot.target_count < most_targets && peek_next(end, limit));
    slot.is_bounced = true;
    slot.transfer.offset = start;
    slot.transfer.address = slot.bounce.data();
    slot.transfer.length = static_cast<std::size_t>(round_up(end, transfer_alignment_) - start);
}

// Whether the next bytes to be read are so close behind `end` that the same request can read them.
bool Loader::peek_next(std::uint64_t end, std::uint64_t limit) noexcept {
    if (!advance(false)) {
        return false;
    }
    const auto offset = current_->offset + place_;
    return offset >= end && offset - end <= most_gap && offset < limit;
}

void Loader::take(Slot& slot, std::size_t length) noexcept {
    slot.targets[slot.target_count++] = {.segment = current_,
                                         .place = place_,
                                         .offset = current_->offset + place_,
                                         .length = length};
    place_ += length;
}

bool Loader::send(Slot& slot) noexcept {
    slot.transfer.direction = Direction::read;
    slot.started = Clock::now();
    for (;;) {
        const int error = queue_->submit(slot.transfer);
        if (error == 0) {
            slot.is_busy = true;
            ++in_flight_;
            return true;
        }
        if (error != EAGAIN && error != EINTR) {
            fail(error, slot.transfer.offset);
            return false;
        }
        if (in_flight_ != 0) {
            reap(true);
        } else {
            usleep(1000);
        }
        tick_if_due(Clock::now());
        if (report_.forked || (is_over() && in_flight_ == 0)) {
            return false;
        }
    }
}

void Loader::reap(bool wait) noexcept {
    std::array<Transfer*, 32> completed;
    const auto timeout = wait ? tick_interval : std::chrono::milliseconds(0);
    const auto count = queue_->wait(completed, timeout);
    for (std::size_t i = 0; i < count && !report_.forked; ++i) {
        const auto slot = std::ranges::find_if(
            slots_, [&](const Slot& candidate) { return &candidate.transfer == completed[i]; });
        --in_flight_;
        slot->is_busy = false;
        complete(*slot);
    }
}

void Loader::complete(Slot& slot) noexcept {
    const auto result = slot.transfer.result;
    pacer_.completed(Clock::now() - slot.started);
    if (result == -EINTR || result == -EAGAIN) {
        if (!is_over()) {
            send(slot);
        }
        return;
    }
    const bool was_direct = slot.transfer.fd == file_.direct_fd;
    if (result == -EINVAL && was_direct && mode_ != DirectMode::always && file_.buffered_fd >= 0) {
        // The file system refuses direct I/O here, though it opened the file with O_DIRECT. Other
        // requests that are in flight are refused, too.
        mode_ = DirectMode::never;
        continue_buffered(slot, 0);
        return;
    }
    if (result == -ECANCELED) {
        // Nobody cancels here: io_uring could start no thread for the request.
        continue_buffered(slot, 0);
        return;
    }
    if (result < 0) {
        fail(static_cast<int>(-result), slot.transfer.offset);
        return;
    }
    const auto count = std::min(static_cast<std::size_t>(result), slot.transfer.length);
    if (was_direct) {
        report_.direct += count;
    }
    if (count == slot.transfer.length) {
        deliver(slot, count);
    } else {
        continue_buffered(slot, count);
    }
}

// Reads the rest of a request that returned fewer bytes than it asked for. Either the file ends
// there or the read was cut short; blocking reads, one after the other, find out which.
void Loader::continue_buffered(Slot& slot, std::size_t done) noexcept {
    auto& transfer = slot.transfer;
    done += read_rest(transfer.offset + done, transfer.address + done, transfer.length - done);
    deliver(slot, done);
}

// Returns how many bytes were read before the end of the file or an error.
std::size_t Loader::read_rest(std::uint64_t offset, std::byte* address,
                              std::size_t length) noexcept {
    std::size_t done = 0;
    while (done < length && !is_over()) {
        ssize_t count = 0;
        const auto at = offset + done;
        if (file_.buffered_fd >= 0) {
            count = pread(file_.buffered_fd, address + done, length - done, static_cast<off_t>(at));
        } else if (at % std::max(file_.alignment.transfer, 1U) == 0 &&
                   reinterpret_cast<std::uintptr_t>(address + done) % memory_alignment_ == 0) {
            count = pread(file_.direct_fd, address + done, length - done, static_cast<off_t>(at));
        }  // else: a direct read that ended in the middle of a block met the end of the file
        if (count < 0 && errno != EINTR) {
            fail(errno, at);
        }
        if (count == 0) {
            break;
        }
        done += static_cast<std::size_t>(std::max<ssize_t>(count, 0));
        tick_if_due(Clock::now());
    }
    return done;
}

// Takes the first `length` bytes of the request: copies bounced ones, and counts all in their
// segments. A shorter length than the request's is the end of the file.
void Loader::deliver(Slot& slot, std::size_t length) noexcept {
    const auto end = slot.transfer.offset + length;
    if (length < slot.transfer.length && !is_over()) {
        end_of_file_ = std::min(end_of_file_, end);
    }
    for (const auto& target : std::span(slot.targets).first(slot.target_count)) {
        const auto there = end <= target.offset ? 0
                                                : static_cast<std::size_t>(std::min<std::uint64_t>(
                                                      end - target.offset, target.length));
        if (slot.is_bounced && there != 0) {
            std::memcpy(target.segment->address + target.place,
                        slot.transfer.address + (target.offset - slot.transfer.offset), there);
        }
        account(*target.segment, there, target.length - there);
    }
}

void Loader::account(Segment& segment, std::size_t loaded, std::size_t missing) noexcept {
    segment.loaded += loaded;
    segment.pending -= loaded + missing;
    report_.loaded += loaded;
    report_.met_end = report_.met_end || missing != 0;
    if (segment.pending != 0) {
        return;
    }
    if (&segment == current_) {
        current_ = nullptr;
        place_ = 0;
    }
    const bool goes_on = source_.finished(segment);
    report_.stopped = report_.stopped || !goes_on;
    give_up_in_child();
}

}  // namespace

LoadReport load(const File& file, const LoadOptions& options, SegmentSource& source) noexcept {
    return Loader(file, options, source).run();
}

}  // namespace bulk

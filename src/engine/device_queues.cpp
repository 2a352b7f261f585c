// SPDX-License-Identifier: Apache-2.0
#include "engine/device_queues.hpp"

#include <algorithm>
#include <bit>

#include "engine/descriptor_table.hpp"
#include "engine/pool_client.hpp"

namespace engine {

DeviceQueues::Device& DeviceQueues::find(std::uint64_t device) noexcept {
    Device* unused = nullptr;
    for (std::size_t i = 0; i < used_; ++i) {
        auto& known = devices_[i];
        if (known.at_work == 0) {
            unused = unused == nullptr ? &known : unused;
        } else if (known.number == device) {
            return known;
        }
    }
    if (unused == nullptr && used_ < devices_.size()) {
        unused = &devices_[used_++];
    }
    if (unused == nullptr) {
        return devices_[static_cast<std::size_t>(device % devices_.size())];
    }
    unused->number = device;
    return *unused;
}

unsigned DeviceQueues::at_work(std::uint64_t device) const noexcept {
    const auto* const end = devices_.data() + used_;
    const auto* found = std::find_if(devices_.data(), end, [&](const Device& known) {
        return known.at_work != 0 && known.number == device;
    });
    return found != end ? found->at_work : 0;
}

bool DeviceQueues::enter(Request& request, std::uint64_t device) noexcept {
    auto& found = find(device);
    request.device_place = static_cast<int>(&found - devices_.data());
    if (found.at_work < most_) {
        ++found.at_work;
        return true;
    }
    request.device_queues = this;
    request.turn = turn_of(request);
    found.waiting[request.turn].push_back(request);
    found.filled |= 1U << request.turn;
    return false;
}

// A request without a file is one for a path: it has the turn of the client's file 0.
std::uint8_t DeviceQueues::turn_of(const Request& request) noexcept {
    const auto number = [](unsigned& place, unsigned& seen) {
        if (place == 0) {
            place = ++seen;
        }
        return place;
    };
    const unsigned client = number(request.client->turn, clients_seen_) % clients;
    const unsigned file =
        request.file != nullptr ? number(request.file->turn, files_seen_) % files : 0;
    return static_cast<std::uint8_t>(client * files + file);
}

// Null if nobody waits.
Request* DeviceQueues::take_next(Device& device) noexcept {
    if (device.filled == 0) {
        return nullptr;
    }
    const auto files_of = [&](unsigned client) {
        return device.filled >> (client * files) & ((1U << files) - 1);
    };
    do {
        device.client = (device.client + 1) % clients;
    } while (files_of(device.client) == 0);
    // the next file, after the one whose turn it was last, that has waiting requests
    auto& file = device.file[device.client];
    const unsigned filled = files_of(device.client);
    const unsigned after_last = filled >> (file + 1U);
    file = static_cast<std::uint8_t>(after_last != 0 ? file + 1 + std::countr_zero(after_last)
                                                     : std::countr_zero(filled));
    auto& next = *device.waiting[device.client * files + file].front();
    take_out(device, next);
    return &next;
}

void DeviceQueues::take_out(Device& device, Request& request) noexcept {
    auto& waiting = device.waiting[request.turn];
    waiting.remove(request);
    if (waiting.empty()) {
        device.filled &= ~(1U << request.turn);
    }
    request.device_queues = nullptr;
}

// Requests of a device wait only while others of that device are at work.
Request* DeviceQueues::leave(int place) noexcept {
    auto& device = devices_[static_cast<std::size_t>(place)];
    auto* next = take_next(device);
    if (next == nullptr) {
        --device.at_work;
        return nullptr;
    }
    next->device_place = place;
    return next;
}

void DeviceQueues::remove(Request& request) noexcept {
    take_out(devices_[static_cast<std::size_t>(request.device_place)], request);
    request.device_place = none;
}

}  // namespace engine

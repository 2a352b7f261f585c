// SPDX-License-Identifier: Apache-2.0
#include "engine/device_queues.hpp"

#include <algorithm>
#include <utility>

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
    found.waiting.push_back(request);
    return false;
}

// A device has requests that wait only while others are at work.
Request* DeviceQueues::leave(int place) noexcept {
    auto& device = devices_[static_cast<std::size_t>(place)];
    auto* next = device.waiting.pop_front();
    if (next == nullptr) {
        --device.at_work;
        return nullptr;
    }
    next->device_queues = nullptr;
    next->device_place = place;
    return next;
}

void DeviceQueues::remove(Request& request) noexcept {
    devices_[static_cast<std::size_t>(request.device_place)].waiting.remove(request);
    request.device_queues = nullptr;
    request.device_place = none;
}

}  // namespace engine

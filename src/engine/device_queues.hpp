// SPDX-License-Identifier: Apache-2.0
// Bounds how many requests of one device are at work at a time: the others of that device wait, and
// those of other devices do not wait behind them. So a server or a disk that does not answer holds
// up no more than its share of the workers.
//
// All of it is behind the pool's lock.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "engine/request_list.hpp"

namespace engine {

class DeviceQueues {
public:
    explicit DeviceQueues(unsigned most) noexcept : most_(most) {}

    // True: the request has a place among those at work, `device_place`, to be given back by
    // leave(). False: it waits for one, with `device_queues` set.
    bool enter(Request& request, std::uint64_t device) noexcept;

    // How many of the device's requests are at work.
    unsigned at_work(std::uint64_t device) const noexcept;
    static constexpr int none = -1;

    // Gives a place back. The request that has it now, which waited; null if nobody did.
    Request* leave(int place) noexcept;

    // A request that waits no longer.
    void remove(Request& request) noexcept;

private:
    struct Device {
        std::uint64_t number = 0;
        unsigned at_work = 0;
        RequestList waiting;
    };

    Device& find(std::uint64_t device) noexcept;

    const unsigned most_;
    // More devices than these at a time share places.
    std::array<Device, 64> devices_{};
    std::size_t used_ = 0;  // the others were never needed
};

}  // namespace engine

// SPDX-License-Identifier: Apache-2.0
// Bounds how many requests of one device are at work at a time: the others of that device wait, and
// those of other devices do not wait behind them. So a server or a disk that does not answer holds
// up no more than its share of the workers.
//
// Those that wait for one device take turns: one of each client, and of a client one of each file.
// So a context with thousands of requests does not hold up another's first. Clients are told apart
// modulo 8, files modulo 4: more than these share turns, so that nothing need be allocated here.
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
    static constexpr unsigned clients = 8;
    static constexpr unsigned files = 4;  // of each client

    struct Device {
        std::uint64_t number = 0;
        unsigned at_work = 0;
        std::array<RequestList, std::size_t{clients} * files> waiting;  // by Request::turn
        std::uint32_t filled = 0;  // a bit for each of these lists that is not empty
        // Whose turn it was last.
        unsigned client = 0;
        std::array<std::uint8_t, clients> file{};
    };

    Device& find(std::uint64_t device) noexcept;
    std::uint8_t turn_of(const Request& request) noexcept;
    static Request* take_next(Device& device) noexcept;

    const unsigned most_;
    // More devices than these at a time share places.
    std::array<Device, 64> devices_{};
    std::size_t used_ = 0;  // the others were never needed

    // How many clients and files had to wait here. Each is numbered when it first does: those that
    // wait at the same time are told apart as well as can be.
    unsigned clients_seen_ = 0;
    unsigned files_seen_ = 0;
};

}  // namespace engine

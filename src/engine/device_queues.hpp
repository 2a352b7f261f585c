// SPDX-License-Identifier: Apache-2.0
// Limits how many requests of one device are at work at a time. More requests of that device wait;
// requests of other devices do not wait behind them. So a server or a disk that does not answer
// holds up no more than its share of the workers.
//
// The requests that wait for one device take turns: one of each client, and within a client one of
// each file. So the first request of a context does not wait behind thousands of another context.
// There are turns for 8 clients, each with 4 files. If there are more clients or files, some share
// a turn; so nothing is allocated here.
//
// The pool's lock guards all of this.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "engine/request_list.hpp"

namespace engine {

class DeviceQueues {
public:
    explicit DeviceQueues(unsigned most) noexcept : most_(most) {}

    // True: the request has a place among those at work (`device_place`), which leave() gives back.
    // False: the request waits for a place, with `device_queues` set.
    bool enter(Request& request, std::uint64_t device) noexcept;

    // How many of the device's requests are at work.
    unsigned at_work(std::uint64_t device) const noexcept;
    static constexpr int none = -1;

    // Gives a place back. Returns the waiting request that gets the place; null if none waits.
    Request* leave(int place) noexcept;

    // Removes a request that waits.
    void remove(Request& request) noexcept;

private:
    static constexpr unsigned clients = 8;
    static constexpr unsigned files = 4;  // of each client

    struct Device {
        std::uint64_t number = 0;
        unsigned at_work = 0;
        std::array<RequestList, std::size_t{clients} * files> waiting;  // by Request::turn
        std::uint32_t filled = 0;  // a bit for each of these lists that is not empty
        // The client, and in each client the file, whose turn it was last.
        unsigned client = 0;
        std::array<std::uint8_t, clients> file{};
    };

    Device& find(std::uint64_t device) noexcept;
    std::uint8_t turn_of(const Request& request) noexcept;
    static Request* take_next(Device& device) noexcept;
    static void take_out(Device& device, Request& request) noexcept;

    const unsigned most_;
    // If more devices than these are in use at a time, some share a limit.
    std::array<Device, 64> devices_{};
    std::size_t used_ = 0;  // of `devices_`, from the front; the others were never needed

    // How many clients and files had to wait here. Each gets its number when it first has to wait,
    // so those that wait at the same time rarely share a turn.
    unsigned clients_seen_ = 0;
    unsigned files_seen_ = 0;
};

}  // namespace engine

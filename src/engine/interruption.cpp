// SPDX-License-Identifier: Apache-2.0
#include "engine/interruption.hpp"

#include <atomic>
#include <csignal>

namespace engine {
namespace {

void do_nothing(int /*number*/) {}

// The number of the signal; 0: none was chosen yet.
std::atomic<int> chosen = 0;

bool is_ours(int number) noexcept {
    struct sigaction action{};
    return number != 0 && sigaction(number, nullptr, &action) == 0 &&
           (action.sa_flags & SA_SIGINFO) == 0 && action.sa_handler == do_nothing;
}

bool is_free(int number) noexcept {
    struct sigaction action{};
    return sigaction(number, nullptr, &action) == 0 && (action.sa_flags & SA_SIGINFO) == 0 &&
           action.sa_handler == SIG_DFL;
}

// Without SA_RESTART: the call is to end.
bool take(int number) noexcept {
    struct sigaction action{};
    action.sa_handler = do_nothing;
    action.sa_flags = SA_ONSTACK;
    sigfillset(&action.sa_mask);
    return sigaction(number, &action, nullptr) == 0;
}

// Returns the number of the signal. It is chosen at the first call, and anew if the program uses it
// by now. Two threads that choose at once most likely choose the same one; if not, both are good.
// 0: the program uses all real-time signals.
int choose() noexcept {
    if (const int number = chosen.load(); is_ours(number)) {
        return number;
    }
    for (int number = SIGRTMAX; number >= SIGRTMIN; --number) {
        if ((is_free(number) && take(number)) || is_ours(number)) {
            chosen.store(number);
            return number;
        }
    }
    return 0;
}

void change_mask(int how, int number) noexcept {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, number);
    pthread_sigmask(how, &signals, nullptr);
}

}  // namespace

Interruptible::Interruptible() noexcept : number_(choose()) {
    if (number_ != 0) {
        change_mask(SIG_UNBLOCK, number_);
    }
}

Interruptible::~Interruptible() {
    if (number_ != 0) {
        change_mask(SIG_BLOCK, number_);
    }
}

void interrupt(pthread_t thread) noexcept {
    if (const int number = chosen.load(); is_ours(number)) {
        pthread_kill(thread, number);
    }
}

}  // namespace engine

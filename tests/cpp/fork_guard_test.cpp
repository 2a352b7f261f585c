// SPDX-License-Identifier: Apache-2.0
#include "engine/fork_guard.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "check.hpp"

namespace {

using engine::ForkGuard;

// What a child process finds.
bool in_child(auto question) {
    const pid_t child = fork();
    if (child == 0) {
        _exit(question() ? 0 : 1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return status == 0;
}

void test_own() {
    const ForkGuard guard;
    check::is_true(!guard.is_inherited(), "our own");
    in_child([] { return true; });
    check::is_true(!guard.is_inherited(), "our own, after a fork");
    bool inherited = true;
    std::thread([&] { inherited = guard.is_inherited(); }).join();
    check::is_true(!inherited, "our own, in a thread");
}

void test_child() {
    const ForkGuard guard;
    check::is_true(in_child([&] { return guard.is_inherited(); }), "a parent's");
    check::is_true(in_child([] { return !ForkGuard().is_inherited(); }), "a child's own");
}

void test_grandchild() {
    const ForkGuard guard;
    const bool all_right = in_child([&] {
        const ForkGuard childs;
        return !childs.is_inherited() && guard.is_inherited() &&
               in_child([&] { return childs.is_inherited() && guard.is_inherited(); });
    });
    check::is_true(all_right, "a child's in a grandchild, and its grandparent's");
}

// Two children, each the first one of its parent's forks, are of one generation.
void test_siblings() {
    const bool all_right = in_child([] {
        const ForkGuard first_childs;
        return in_child([&] { return first_childs.is_inherited(); });
    });
    check::is_true(all_right, "the first child's");
    const ForkGuard between;
    check::is_true(in_child([&] { return between.is_inherited(); }), "made between two forks");
}

}  // namespace

int main() {
    return check::run({
        {"a guard in the process that made it", test_own},
        {"a guard in a child process", test_child},
        {"a guard in a grandchild", test_grandchild},
        {"guards of siblings", test_siblings},
    });
}

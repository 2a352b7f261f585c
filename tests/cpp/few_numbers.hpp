// SPDX-License-Identifier: Apache-2.0
// A limit of numbers for open files (RLIMIT_NOFILE), lowered for as long as the object lives.
#pragma once

#include <sys/resource.h>

#include "fixtures.hpp"

class FewNumbers {
public:
    explicit FewNumbers(int count) {
        fixtures::succeeded(getrlimit(RLIMIT_NOFILE, &before_));
        auto limit = before_;
        limit.rlim_cur = static_cast<rlim_t>(count);
        fixtures::succeeded(setrlimit(RLIMIT_NOFILE, &limit));
    }
    FewNumbers(const FewNumbers&) = delete;
    FewNumbers& operator=(const FewNumbers&) = delete;
    ~FewNumbers() { setrlimit(RLIMIT_NOFILE, &before_); }

private:
    rlimit before_{};
};

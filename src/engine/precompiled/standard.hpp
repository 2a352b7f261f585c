// SPDX-License-Identifier: Apache-2.0
// The headers of the standard library that many files include. Where Meson's option b_pch is set,
// they are compiled once for each library, which halves the time of a build. Other files do not
// include this one: they include what they use, and are compiled without b_pch, too.
#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

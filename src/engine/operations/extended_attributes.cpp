// SPDX-License-Identifier: Apache-2.0
#include "engine/operations/extended_attributes.hpp"

#include <sys/xattr.h>

#include <cerrno>
#include <cstring>

namespace engine {

ExtendedAttributes::Bytes ExtendedAttributes::allocate(std::size_t size) noexcept {
    return Bytes(static_cast<char*>(std::malloc(size + 1)));
}

ExtendedAttributes::ExtendedAttributes(const char* path) noexcept : path_(path) {
    do {
        const auto size = llistxattr(path_, nullptr, 0);
        if (size < 0) {
            error_ = errno;
            return;
        }
        names_ = allocate(static_cast<std::size_t>(size));
        if (names_ == nullptr) {
            error_ = ENOMEM;
            return;
        }
        // one more, which allocate() has: 0 would ask for the size once more
        const auto length = llistxattr(path_, names_.get(), static_cast<std::size_t>(size) + 1);
        error_ = length < 0 ? errno : 0;
        end_ = names_.get() + (length < 0 ? 0 : length);
    } while (error_ == ERANGE);  // attributes were added meanwhile
}

bool ExtendedAttributes::next() noexcept {
    const char* after = name_ == nullptr ? names_.get() : name_ + std::strlen(name_) + 1;
    if (error_ != 0 || after >= end_) {
        return false;
    }
    name_ = after;
    return true;
}

int ExtendedAttributes::read() noexcept {
    for (;;) {
        const auto size = lgetxattr(path_, name_, nullptr, 0);
        if (size < 0) {
            return errno;
        }
        value_ = allocate(static_cast<std::size_t>(size));
        if (value_ == nullptr) {
            return ENOMEM;
        }
        const auto length =
            lgetxattr(path_, name_, value_.get(), static_cast<std::size_t>(size) + 1);
        if (length >= 0) {
            size_ = static_cast<std::size_t>(length);
            return 0;
        }
        if (errno != ERANGE) {
            return errno;
        }
    }
}

}  // namespace engine

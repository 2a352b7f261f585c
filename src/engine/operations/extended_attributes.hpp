// SPDX-License-Identifier: Apache-2.0
// The extended attributes of a file, access control lists among them: see xattr(7).
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <span>

namespace engine {

// Lists and reads the attributes one by one. Does not follow a symbolic link at the end of the
// path.
class ExtendedAttributes {
public:
    explicit ExtendedAttributes(const char* path) noexcept;

    int error() const noexcept { return error_; }  // 0, or the errno of llistxattr(2)

    // Goes on to the next attribute. False if there are no more.
    bool next() noexcept;
    const char* name() const noexcept { return name_; }

    // Reads this attribute's value. Returns 0 or an errno.
    int read() noexcept;
    std::span<const char> value() const noexcept { return {value_.get(), size_}; }

private:
    struct Free {
        void operator()(char* data) const noexcept { std::free(data); }
    };
    using Bytes = std::unique_ptr<char, Free>;
    static Bytes allocate(std::size_t size) noexcept;

    const char* const path_;
    int error_ = 0;
    Bytes names_;  // one after the other, each with a zero at its end
    const char* end_ = nullptr;
    const char* name_ = nullptr;
    Bytes value_;
    std::size_t size_ = 0;
};

}  // namespace engine

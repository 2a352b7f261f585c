// SPDX-License-Identifier: Apache-2.0
#include "engine/operations/cached_path.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "check.hpp"
#include "engine/local_mounts.hpp"
#include "fixtures.hpp"

namespace {

using engine::CachedPath;
using engine::UniqueFd;

// A folder with a file that find_cached() finds.
class Folder {
public:
    Folder() {
        std::string name = (std::filesystem::temp_directory_path() / "cached-path-XXXXXX").string();
        check::is_true(mkdtemp(name.data()) != nullptr, "made a folder");
        path_ = name;
        const auto file = make("file");
        struct statx status{};
        fixtures::succeeded(statx(file.get(), "", AT_EMPTY_PATH,
                                  STATX_BASIC_STATS | engine::LocalMounts::mask, &status));
        engine::LocalMounts::learn(file.get(), status);
        found = engine::find_cached(AT_FDCWD, path("file").c_str(), true);
        if (!found.file.is_open()) {
            std::filesystem::remove_all(path_);
            throw check::Skipped("the folder's file system is not known to be local");
        }
    }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    ~Folder() { std::filesystem::remove_all(path_); }

    std::string path(const char* name) const { return path_ / name; }
    UniqueFd make(const char* name) const {
        return UniqueFd(
            fixtures::succeeded(open(path(name).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)));
    }
    UniqueFd open_cached() const {
        return engine::open_cached(found, AT_FDCWD, path("file").c_str(), O_RDONLY | O_CLOEXEC);
    }

    CachedPath found;

private:
    std::filesystem::path path_;
};

void test_the_same_file() {
    const Folder folder;
    const auto file = folder.open_cached();
    check::is_true(file.is_open(), "it is opened");
    check::is_true((fcntl(file.get(), F_GETFL) & O_NONBLOCK) != 0, "the open does not wait");
}

void test_another_file_has_the_path() {
    const Folder folder;
    const auto other = folder.make("other");
    std::filesystem::rename(folder.path("other"), folder.path("file"));
    check::is_true(!folder.open_cached().is_open(), "the other file is not taken for it");
}

void test_a_fifo_has_the_path() {
    const Folder folder;
    fixtures::succeeded(mkfifo(folder.path("fifo").c_str(), 0600));
    std::filesystem::rename(folder.path("fifo"), folder.path("file"));
    check::is_true(!folder.open_cached().is_open(), "the FIFO is not taken for it");
}

void test_nothing_has_the_path() {
    const Folder folder;
    std::filesystem::remove(folder.path("file"));
    check::is_true(!folder.open_cached().is_open(), "there is nothing to open");
}

}  // namespace

int main() {
    return check::run({
        {"the same file", test_the_same_file},
        {"another file has the path", test_another_file_has_the_path},
        {"a FIFO has the path", test_a_fifo_has_the_path},
        {"nothing has the path", test_nothing_has_the_path},
    });
}

// SPDX-License-Identifier: Apache-2.0
#include "python/path_operations.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <iterator>
#include <string_view>
#include <utility>

#include "engine/operations/close.hpp"
#include "engine/operations/describe.hpp"
#include "engine/operations/open.hpp"
#include "engine/operations/path_call.hpp"
#include "engine/operations/path_results.hpp"
#include "engine/operations/scan_directory.hpp"
#include "engine/operations/stat.hpp"
#include "engine/program_threads.hpp"
#include "python/dir_entry.hpp"
#include "python/stat_result.hpp"

namespace python {
namespace {

// --- results

PyObject* raise_with_filename(const CallDetails& details, int error) {
    errno = error;
    return PyErr_SetFromErrnoWithFilenameObjects(PyExc_OSError, details.filename.get(),
                                                 details.other_filename.get());
}

PyObject* file_result(const ModuleState& /*state*/, CallDetails& details, std::int64_t /*result*/) {
    const int fd = call_of<engine::OpenCall>(details).take();
    return fd < 0 ? raise_with_filename(details, -fd) : PyLong_FromLong(fd);
}

PyObject* describe(PyObject* fd, const engine::FileDescription& description) {
    return fd != nullptr
               ? Py_BuildValue("(NILLii)", fd, description.mode,
                               static_cast<long long>(description.size),
                               static_cast<long long>(description.position),
                               description.is_terminal ? 1 : 0, description.is_local ? 1 : 0)
               : nullptr;
}

PyObject* described_file_result(const ModuleState& state, CallDetails& details,
                                std::int64_t result) {
    return describe(file_result(state, details, result),
                    call_of<engine::OpenCall>(details).description());
}

PyObject* description_result(const ModuleState& /*state*/, CallDetails& details,
                             std::int64_t /*result*/) {
    return describe(Py_NewRef(details.filename.get()),
                    call_of<engine::DescribeCall>(details).description());
}

PyObject* stat_result(const ModuleState& state, CallDetails& details, std::int64_t /*result*/) {
    return make_stat_result(state.stat_result, call_of<engine::StatCall>(details).status());
}

PyObject* decode(std::string_view text, bool as_bytes) {
    const auto length = static_cast<Py_ssize_t>(text.size());
    return as_bytes ? PyBytes_FromStringAndSize(text.data(), length)
                    : PyUnicode_DecodeFSDefaultAndSize(text.data(), length);
}

bool is_given_as_bytes(const CallDetails& details) {
    return details.filename && PyBytes_Check(details.filename.get());
}

PyObject* readlink_result(const ModuleState& /*state*/, CallDetails& details,
                          std::int64_t /*result*/) {
    return decode(call_of<engine::ReadlinkCall>(details).target(), is_given_as_bytes(details));
}

PyObject* statvfs_result(const ModuleState& /*state*/, CallDetails& details,
                         std::int64_t /*result*/) {
    const auto& status = call_of<engine::StatvfsCall>(details).status();
    return Py_BuildValue("(kkKKKKKKkkk)", status.f_bsize, status.f_frsize,
                         static_cast<unsigned long long>(status.f_blocks),
                         static_cast<unsigned long long>(status.f_bfree),
                         static_cast<unsigned long long>(status.f_bavail),
                         static_cast<unsigned long long>(status.f_files),
                         static_cast<unsigned long long>(status.f_ffree),
                         static_cast<unsigned long long>(status.f_favail), status.f_flag,
                         status.f_namemax, static_cast<unsigned long>(status.f_fsid));
}

PyObject* names_result(const ModuleState& /*state*/, CallDetails& details,
                       std::int64_t /*result*/) {
    const auto& call = call_of<engine::ScanCall>(details);
    const bool as_bytes = is_given_as_bytes(details);
    auto list = Ref::steal(PyList_New(static_cast<Py_ssize_t>(call.entries().size())));
    for (std::size_t i = 0; list && i < call.entries().size(); ++i) {
        PyObject* name = decode(call.name_of(call.entries()[i]), as_bytes);
        if (name == nullptr) {
            return nullptr;
        }
        PyList_SET_ITEM(list.get(), static_cast<Py_ssize_t>(i), name);
    }
    return list.release();
}

// Returns (entries, fd). `fd` is -1 at the end of the directory; None if the program's own fd is to
// be read on from; else a number to read on from and to close. If the call was told where to start,
// returns (entries, fd, place), with the place where the next call has to start.
PyObject* entries_result(const ModuleState& state, CallDetails& details, std::int64_t /*result*/) {
    auto& call = call_of<engine::ScanCall>(details);
    const bool is_opened = details.path && !call.is_at_end();
    int fd = -1;
    if (is_opened) {
        fd = call.take();
        if (fd < 0) {
            return raise_with_filename(details, -fd);
        }
    }
    auto entries = Ref::steal(make_dir_entries(state, call, details.payload.get()));
    if (!entries) {
        if (fd >= 0) {
            engine::close_soon(fd);
        }
        return nullptr;
    }
    const auto number =
        !details.path && !call.is_at_end() ? Ref::borrow(Py_None) : Ref::steal(PyLong_FromLong(fd));
    if (!number) {
        return nullptr;
    }
    return call.next() ? Py_BuildValue("(OOL)", entries.get(), number.get(),
                                       static_cast<long long>(*call.next()))
                       : Py_BuildValue("(OO)", entries.get(), number.get());
}

// --- the methods

template <bool describes>
PyObject* open_file(PyObject* context, Arguments arguments) {
    auto details = make_details("open", describes ? described_file_result : file_result);
    Place place;
    int flags = O_RDONLY;
    int mode = 0777;
    if (details == nullptr || !to_int(arguments, 1, "flags", flags) ||
        !to_int(arguments, 2, "mode", mode) ||
        !find_place(*details, argument(arguments, 0), argument(arguments, 3), false, place) ||
        !set_call<engine::OpenCall>(*details, place.fd, place.path, flags,
                                    static_cast<mode_t>(mode), describes)) {
        return nullptr;
    }
    return start_call(context, std::move(details), place.fd);
}

PyObject* describe_file(PyObject* context, Arguments arguments) {
    auto details = make_details("open", description_result);
    Place place;
    return details != nullptr &&
                   find_place(*details, argument(arguments, 0), nullptr, true, place) &&
                   set_call<engine::DescribeCall>(*details)
               ? start_call(context, std::move(details), place.fd)
               : nullptr;
}

// Arguments: an fd, the offset, and what the offset is relative to.
PyObject* seek_file(PyObject* context, Arguments arguments) {
    auto details = make_details("seek", number_result);
    int fd = -1;
    std::int64_t offset = 0;
    int whence = 0;
    return details != nullptr && to_int(arguments, 0, "fd", fd) &&
                   to_int64(arguments, 1, "offset", offset) &&
                   to_int(arguments, 2, "whence", whence) &&
                   set_call<engine::SeekCall>(*details, offset, whence)
               ? start_call(context, std::move(details), fd)
               : nullptr;
}

PyObject* close_file(PyObject* context, Arguments arguments) {
    auto details = make_details("close", none_result);
    int fd = -1;
    if (details == nullptr || !to_int(arguments, 0, "fd", fd) ||
        !set_call<engine::CloseCall>(*details, fd)) {
        return nullptr;
    }
    details->never_queues = true;
    return start_call(context, std::move(details), fd);
}

PyObject* stat_file(PyObject* context, Arguments arguments) {
    auto details = make_details("stat", stat_result);
    Place place;
    bool follows = true;
    if (details == nullptr || !to_bool(arguments, 2, follows) ||
        !find_place(*details, argument(arguments, 0), argument(arguments, 1), true, place) ||
        !set_call<engine::StatCall>(*details, place.fd, place.path, follows)) {
        return nullptr;
    }
    if (place.path == nullptr && !follows) {
        PyErr_SetString(PyExc_ValueError, "stat: cannot use fd and follow_symlinks together");
        return nullptr;
    }
    return start_call(context, std::move(details), place.fd);
}

// For functions of one path and up to three numbers.
template <auto function, bool takes_fd, auto make_result>
PyObject* one_path(PyObject* context, const char* name, PyObject* path, PyObject* dir_fd,
                   engine::PathArguments values) {
    auto details = make_details(name, make_result);
    Place place;
    if (details == nullptr || !find_place(*details, path, dir_fd, takes_fd, place)) {
        return nullptr;
    }
    values.path = place.path;
    if (!set_call<engine::PathCall>(*details, function, values)) {
        return nullptr;
    }
    return start_call(context, std::move(details), place.fd);
}

PyObject* make_directory(PyObject* context, Arguments arguments) {
    engine::PathArguments values{.first = 0777};
    return to_int64(arguments, 1, "mode", values.first)
               ? one_path<engine::path_functions::mkdir, false, none_result>(
                     context, "mkdir", argument(arguments, 0), argument(arguments, 2), values)
               : nullptr;
}

PyObject* remove_directory(PyObject* context, Arguments arguments) {
    return one_path<engine::path_functions::rmdir, false, none_result>(
        context, "rmdir", argument(arguments, 0), argument(arguments, 1), {});
}

PyObject* unlink_file(PyObject* context, Arguments arguments) {
    return one_path<engine::path_functions::unlink, false, none_result>(
        context, "unlink", argument(arguments, 0), argument(arguments, 1), {});
}

PyObject* change_mode(PyObject* context, Arguments arguments) {
    engine::PathArguments values;
    return to_int64(arguments, 1, "mode", values.first) && to_bool(arguments, 3, values.follows)
               ? one_path<engine::path_functions::chmod, true, none_result>(
                     context, "chmod", argument(arguments, 0), argument(arguments, 2), values)
               : nullptr;
}

PyObject* change_owner(PyObject* context, Arguments arguments) {
    engine::PathArguments values;
    return to_int64(arguments, 1, "uid", values.first) &&
                   to_int64(arguments, 2, "gid", values.second) &&
                   to_bool(arguments, 4, values.follows)
               ? one_path<engine::path_functions::chown, true, none_result>(
                     context, "chown", argument(arguments, 0), argument(arguments, 3), values)
               : nullptr;
}

// Arguments: seconds and nanoseconds of both times, or None for the current time.
PyObject* set_times(PyObject* context, Arguments arguments) {
    engine::PathArguments values;
    std::array<std::int64_t, 4> given{0, UTIME_NOW, 0, UTIME_NOW};
    for (std::size_t i = 0; i < given.size(); ++i) {
        if (!to_int64(arguments, 1 + i, "times", given[i])) {
            return nullptr;
        }
    }
    for (std::size_t i = 0; i < 2; ++i) {
        values.times[i].tv_sec = static_cast<time_t>(given[2 * i]);
        values.times[i].tv_nsec = static_cast<long>(given[2 * i + 1]);
    }
    return to_bool(arguments, 6, values.follows)
               ? one_path<engine::path_functions::utime, true, none_result>(
                     context, "utime", argument(arguments, 0), argument(arguments, 5), values)
               : nullptr;
}

PyObject* truncate_file(PyObject* context, Arguments arguments) {
    engine::PathArguments values;
    return to_int64(arguments, 1, "length", values.first)
               ? one_path<engine::path_functions::truncate, true, none_result>(
                     context, "truncate", argument(arguments, 0), nullptr, values)
               : nullptr;
}

// Arguments: mode, offset and length, as for fallocate(2). A mode of None means posix_fallocate(3).
PyObject* allocate_file(PyObject* context, Arguments arguments) {
    engine::PathArguments values;
    if (!to_int64(arguments, 1, "mode", values.first) ||
        !to_int64(arguments, 2, "offset", values.second) ||
        !to_int64(arguments, 3, "length", values.third)) {
        return nullptr;
    }
    if (argument(arguments, 1) == nullptr) {
        return one_path<engine::path_functions::posix_allocate, true, none_result>(
            context, "posix_fallocate", argument(arguments, 0), nullptr, values);
    }
    return one_path<engine::path_functions::allocate, true, none_result>(
        context, "fallocate", argument(arguments, 0), nullptr, values);
}

PyObject* check_access(PyObject* context, Arguments arguments) {
    engine::PathArguments values;
    bool is_effective = false;
    if (!to_int64(arguments, 1, "mode", values.first) || !to_bool(arguments, 3, is_effective) ||
        !to_bool(arguments, 4, values.follows)) {
        return nullptr;
    }
    values.second = is_effective ? 1 : 0;
    return one_path<engine::path_functions::access, false, bool_result>(
        context, "access", argument(arguments, 0), argument(arguments, 2), values);
}

// For functions of two paths, each with a directory's fd.
PyObject* two_paths(PyObject* context, const char* name, engine::PathCall::Function function,
                    Arguments arguments, bool follows) {
    auto details = make_details(name, none_result);
    Place place;
    if (details == nullptr ||
        !find_place(*details, argument(arguments, 0), argument(arguments, 2), false, place) ||
        !encode(argument(arguments, 1), details->other_path)) {
        return nullptr;
    }
    int second_fd = AT_FDCWD;
    if (!to_int(arguments, 3, "dir_fd", second_fd)) {
        return nullptr;
    }
    details->other_filename = Ref::steal(PyOS_FSPath(argument(arguments, 1)));
    if (!details->other_filename) {
        return nullptr;
    }
    if (!begins_at_directory(PyBytes_AS_STRING(details->other_path.get()))) {
        second_fd = AT_FDCWD;
    }
    const engine::PathArguments values{.path = place.path,
                                       .other_path = PyBytes_AS_STRING(details->other_path.get()),
                                       .follows = follows};
    return set_call<engine::PathCall>(*details, function, values)
               ? start_call(context, std::move(details), place.fd, second_fd)
               : nullptr;
}

PyObject* rename_file(PyObject* context, Arguments arguments) {
    return two_paths(context, "rename", engine::path_functions::rename, arguments, true);
}

PyObject* link_file(PyObject* context, Arguments arguments) {
    bool follows = true;
    return to_bool(arguments, 4, follows)
               ? two_paths(context, "link", engine::path_functions::link, arguments, follows)
               : nullptr;
}

PyObject* make_symlink(PyObject* context, Arguments arguments) {
    return two_paths(context, "symlink", engine::path_functions::symlink, arguments, true);
}

PyObject* copy_file_status(PyObject* context, Arguments arguments) {
    bool follows = false;
    return to_bool(arguments, 4, follows)
               ? two_paths(context, "copystat", engine::path_functions::copy_status, arguments,
                           follows)
               : nullptr;
}

PyObject* read_symlink(PyObject* context, Arguments arguments) {
    auto details = make_details("readlink", readlink_result);
    Place place;
    return details != nullptr &&
                   find_place(*details, argument(arguments, 0), argument(arguments, 1), false,
                              place) &&
                   set_call<engine::ReadlinkCall>(*details, place.path)
               ? start_call(context, std::move(details), place.fd)
               : nullptr;
}

PyObject* stat_file_system(PyObject* context, Arguments arguments) {
    auto details = make_details("statvfs", statvfs_result);
    Place place;
    return details != nullptr &&
                   find_place(*details, argument(arguments, 0), nullptr, true, place) &&
                   set_call<engine::StatvfsCall>(*details, place.path)
               ? start_call(context, std::move(details), place.fd)
               : nullptr;
}

PyObject* list_directory(PyObject* context, Arguments arguments) {
    auto details = make_details("listdir", names_result);
    Place place;
    return details != nullptr &&
                   find_place(*details, argument(arguments, 0), nullptr, true, place) &&
                   set_call<engine::ScanCall>(*details, place.path, engine::ScanCall::Wants::names,
                                              std::size_t{0})
               ? start_call(context, std::move(details), place.fd)
               : nullptr;
}

// Leaves `start` as it is if there is no such argument. Returns false with an exception set.
bool to_start(Arguments arguments, std::size_t index,
              std::optional<engine::ScanCall::Start>& start) {
    if (index >= arguments.size()) {
        return true;
    }
    start.emplace();
    if (argument(arguments, index) == nullptr) {
        return true;
    }
    std::int64_t place = 0;
    const bool is_known = to_int64(arguments, index, "start", place);
    start->place = place;
    return is_known;
}

// Arguments: the directory, as a path or an fd to read on from; the beginning of the entries'
// paths; how many entries to read; whether to read their status; for a descriptor of the program's,
// the place to start from, or None for where it stands.
PyObject* scan_directory(PyObject* context, Arguments arguments) {
    auto details = make_details("scandir", entries_result);
    Place place;
    std::int64_t most = 0;
    bool wants_status = true;
    std::optional<engine::ScanCall::Start> start;
    if (details == nullptr || !to_int64(arguments, 2, "most", most) ||
        !to_bool(arguments, 3, wants_status) || !to_start(arguments, 4, start) ||
        !find_place(*details, argument(arguments, 0), nullptr, true, place) ||
        !set_call<engine::ScanCall>(
            *details, place.path,
            wants_status ? engine::ScanCall::Wants::status : engine::ScanCall::Wants::types,
            static_cast<std::size_t>(most), start)) {
        return nullptr;
    }
    details->payload = Ref::borrow(argument(arguments, 1));
    return start_call(context, std::move(details), place.fd);
}

}  // namespace

std::span<const PyMethodDef> path_methods() {
    static const PyMethodDef methods[] = {
        entry<open_file<false>, 2, 4>("_open"),
        entry<open_file<true>, 2, 4>("_open_described"),
        entry<describe_file, 1, 1>("_describe"),
        entry<seek_file, 3, 3>("_seek"),
        entry<close_file, 1, 1>("_close"),
        entry<stat_file, 1, 3>("_stat"),
        entry<make_directory, 1, 3>("_mkdir"),
        entry<remove_directory, 1, 2>("_rmdir"),
        entry<unlink_file, 1, 2>("_unlink"),
        entry<change_mode, 2, 4>("_chmod"),
        entry<change_owner, 3, 5>("_chown"),
        entry<set_times, 1, 7>("_utime"),
        entry<truncate_file, 2, 2>("_truncate"),
        entry<allocate_file, 4, 4>("_allocate"),
        entry<check_access, 2, 5>("_access"),
        entry<rename_file, 2, 4>("_rename"),
        entry<link_file, 2, 5>("_link"),
        entry<make_symlink, 2, 4>("_symlink"),
        entry<read_symlink, 1, 2>("_readlink"),
        entry<stat_file_system, 1, 1>("_statvfs"),
        entry<list_directory, 1, 1>("_listdir"),
        entry<scan_directory, 4, 5>("_scandir"),
        entry<copy_file_status, 2, 5>("_copy_status"),
    };
    static_assert(std::size(methods) <= most_call_methods);
    return methods;
}

PyObject* close_in_background(PyObject* /*module*/, PyObject* fd) {
    const auto number = to_integer(fd, "fd", 0, INT_MAX);
    if (!number) {
        return nullptr;
    }
    engine::close_soon(static_cast<int>(*number));
    Py_RETURN_NONE;
}

}  // namespace python

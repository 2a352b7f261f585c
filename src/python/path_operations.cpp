// SPDX-License-Identifier: Apache-2.0
#include "python/path_operations.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <new>
#include <span>
#include <string_view>
#include <utility>

#include "engine/operations/close.hpp"
#include "engine/operations/describe.hpp"
#include "engine/operations/file_part.hpp"
#include "engine/operations/open.hpp"
#include "engine/operations/path_call.hpp"
#include "engine/operations/path_results.hpp"
#include "engine/operations/read_file.hpp"
#include "engine/operations/replace_file.hpp"
#include "engine/operations/scan_directory.hpp"
#include "engine/operations/stat.hpp"
#include "engine/operations/write_file.hpp"
#include "engine/operations/write_here.hpp"
#include "engine/program_threads.hpp"
#include "python/arguments.hpp"
#include "python/awaitable.hpp"
#include "python/dir_entry.hpp"
#include "python/operation.hpp"
#include "python/stat_result.hpp"

namespace python {
namespace {

using Arguments = std::span<PyObject* const>;
using Details = std::unique_ptr<CallDetails>;

// --- arguments: positional, and checked for their number by the table

PyObject* argument(Arguments arguments, std::size_t place) {
    return place < arguments.size() && arguments[place] != Py_None ? arguments[place] : nullptr;
}

// Like to_integer(), but raises the exception that os raises for numbers that are too large.
std::optional<std::int64_t> to_c_integer(PyObject* given, const char* name, std::int64_t least,
                                         std::int64_t most) {
    const auto number = to_integer(given, name, least, most);
    if (!number && PyErr_ExceptionMatches(PyExc_ValueError) != 0) {
        PyErr_Clear();
        PyErr_Format(PyExc_OverflowError, "%s must be from %lld to %lld, not %R", name,
                     static_cast<long long>(least), static_cast<long long>(most), given);
    }
    return number;
}

bool to_int(Arguments arguments, std::size_t place, const char* name, int& value) {
    if (PyObject* given = argument(arguments, place); given != nullptr) {
        const auto number = to_c_integer(given, name, INT_MIN, INT_MAX);
        value = static_cast<int>(number.value_or(0));
        return number.has_value();
    }
    return true;
}

bool to_int64(Arguments arguments, std::size_t place, const char* name, std::int64_t& value) {
    if (PyObject* given = argument(arguments, place); given != nullptr) {
        const auto number = to_c_integer(given, name, INT64_MIN, INT64_MAX);
        value = number.value_or(0);
        return number.has_value();
    }
    return true;
}

// Converts an argument to bool. None or no argument leaves `value` as it is.
bool to_bool(Arguments arguments, std::size_t place, bool& value) {
    if (PyObject* given = argument(arguments, place); given != nullptr) {
        const int truth = PyObject_IsTrue(given);
        value = truth != 0;
        return truth >= 0;
    }
    return true;
}

// Encodes a path. If the path is a number, the string is null.
bool encode(PyObject* given, Ref& path) {
    PyObject* bytes = nullptr;
    if (given == nullptr) {
        PyErr_SetString(PyExc_TypeError, "path should be string, bytes or os.PathLike, not None");
        return false;
    }
    if (PyUnicode_FSConverter(given, &bytes) == 0) {
        return false;
    }
    path = Ref::steal(bytes);
    return true;
}

// Whether the kernel looks at the directory's descriptor.
bool begins_at_directory(const char* path) { return path[0] != '\0' && path[0] != '/'; }

// The file of a call: a path, which starts at `fd` if it is relative, or a descriptor.
struct Place {
    int fd = AT_FDCWD;
    const char* path = nullptr;  // null: fd is the file
};

// Sets `place` from the first argument of a call: a path, relative to dir_fd, or, if `takes_fd` is
// set, a descriptor.
bool find_place(CallDetails& details, PyObject* given, PyObject* dir_fd, bool takes_fd,
                Place& place) {
    if (takes_fd && given != nullptr && PyIndex_Check(given)) {
        const auto number = to_c_integer(given, "path", INT_MIN, INT_MAX);
        if (!number) {
            return false;
        }
        if (dir_fd != nullptr) {
            PyErr_Format(PyExc_ValueError, "%s: can't specify dir_fd without matching path",
                         details.name);
            return false;
        }
        place.fd = static_cast<int>(*number);
        details.filename = Ref::borrow(given);
        // some negative numbers (AT_FDCWD) would stand for the working directory
        place.fd = place.fd < 0 ? -1 : place.fd;
        return true;
    }
    if (!encode(given, details.path)) {
        return false;
    }
    details.filename = Ref::steal(PyOS_FSPath(given));
    if (!details.filename) {
        return false;
    }
    place.path = PyBytes_AS_STRING(details.path.get());
    if (dir_fd != nullptr) {
        const auto number = to_c_integer(dir_fd, "dir_fd", INT_MIN, INT_MAX);
        if (!number) {
            return false;
        }
        if (begins_at_directory(place.path)) {
            place.fd = static_cast<int>(*number);
        }
    }
    return true;
}

Details make_details(const char* name, CallDetails::MakeResult make_result) {
    auto details = Details(new (std::nothrow) CallDetails);
    if (details == nullptr) {
        PyErr_NoMemory();
        return details;
    }
    details->name = name;
    details->make_result = make_result;
    return details;
}

// Null with MemoryError.
template <class Made, class... Values>
bool set_call(CallDetails& details, Values... values) {
    details.call.reset(new (std::nothrow) Made(values...));
    if (details.call == nullptr) {
        PyErr_NoMemory();
    }
    return details.call != nullptr;
}

template <class Made>
Made& call_of(CallDetails& details) {
    return static_cast<Made&>(*details.call);
}

// --- results

PyObject* none_result(const ModuleState& /*state*/, CallDetails& /*details*/,
                      std::int64_t /*result*/) {
    Py_RETURN_NONE;
}

PyObject* number_result(const ModuleState& /*state*/, CallDetails& /*details*/,
                        std::int64_t result) {
    return PyLong_FromLongLong(result);
}

PyObject* bool_result(const ModuleState& /*state*/, CallDetails& /*details*/, std::int64_t result) {
    return PyBool_FromLong(result != 0 ? 1 : 0);
}

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
               ? Py_BuildValue(
                     "(NILLi)", fd, description.mode, static_cast<long long>(description.size),
                     static_cast<long long>(description.position), description.is_terminal ? 1 : 0)
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

// Returns None if the file is no regular file.
PyObject* part_result(const ModuleState& /*state*/, CallDetails& details, std::int64_t /*result*/) {
    const auto& part = call_of<engine::ReadPartCall>(details).part();
    if (part.found_stream()) {
        Py_RETURN_NONE;
    }
    return PyBytes_FromStringAndSize(part.data(), static_cast<Py_ssize_t>(part.size()));
}

PyObject* bytes_or_error(const engine::ReadPartsCall::Item& item, PyObject* path) {
    if (item.part.found_stream()) {
        Py_RETURN_NONE;
    }
    if (item.result >= 0) {
        return PyBytes_FromStringAndSize(item.part.data(),
                                         static_cast<Py_ssize_t>(item.part.size()));
    }
    const int error = static_cast<int>(-item.result);
    const auto text = Ref::steal(PyUnicode_DecodeLocale(strerror(error), "surrogateescape"));
    return text ? PyObject_CallFunction(PyExc_OSError, "iOO", error, text.get(), path) : nullptr;
}

// Returns a list of bytes, exceptions, and None for what is no regular file.
PyObject* parts_result(const ModuleState& /*state*/, CallDetails& details,
                       std::int64_t /*result*/) {
    const auto items = call_of<engine::ReadPartsCall>(details).items();
    auto list = Ref::steal(PyList_New(static_cast<Py_ssize_t>(items.size())));
    for (std::size_t i = 0; list && i < items.size(); ++i) {
        const auto place = static_cast<Py_ssize_t>(i);
        PyObject* made =
            bytes_or_error(items[i], PyTuple_GET_ITEM(details.other_path.get(), place));
        if (made == nullptr) {
            return nullptr;
        }
        PyList_SET_ITEM(list.get(), place, made);
    }
    return list.release();
}

// Returns the bytes of a file that was read; the file's size, if the file is too large to be read
// without memory of ours; or None, if it is no regular file.
PyObject* read_result(const ModuleState& /*state*/, CallDetails& details, std::int64_t result) {
    const auto& call = call_of<engine::ReadFileCall>(details);
    if (call.found() == engine::ReadFileCall::Found::stream) {
        Py_RETURN_NONE;
    }
    if (call.found() == engine::ReadFileCall::Found::large) {
        return PyLong_FromLongLong(result);
    }
    const auto rest_size = static_cast<Py_ssize_t>(call.rest_size());
    if (!details.payload) {
        return PyBytes_FromStringAndSize(call.rest(), rest_size);
    }
    const auto filled = static_cast<Py_ssize_t>(call.filled());
    if (rest_size != 0) {  // the file has grown meanwhile
        PyObject* joined = PyBytes_FromStringAndSize(nullptr, filled + rest_size);
        if (joined != nullptr) {
            char* data = PyBytes_AS_STRING(joined);
            std::memcpy(data, PyBytes_AS_STRING(details.payload.get()), call.filled());
            std::memcpy(data + filled, call.rest(), call.rest_size());
        }
        return joined;
    }
    PyObject* bytes = details.payload.release();
    if (filled != PyBytes_GET_SIZE(bytes)) {
        _PyBytes_Resize(&bytes, filled);
    }
    return bytes;
}

// Returns None if the file is no regular file.
template <class WritingCall>
PyObject* written_result(const ModuleState& /*state*/, CallDetails& details, std::int64_t result) {
    if (call_of<WritingCall>(details).found_stream()) {
        Py_RETURN_NONE;
    }
    return PyLong_FromLongLong(result);
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
// be read on from; else a number to read on from and to close.
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
    if (!details.path && !call.is_at_end()) {
        return Py_BuildValue("(OO)", entries.get(), Py_None);
    }
    return Py_BuildValue("(Oi)", entries.get(), fd);
}

// --- the methods

PyObject* start(PyObject* context, Details details, int fd, int second_fd = -1) {
    return start_call(static_cast<ContextObject*>(context), std::move(details), fd, second_fd);
}

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
    return start(context, std::move(details), place.fd);
}

PyObject* describe_file(PyObject* context, Arguments arguments) {
    auto details = make_details("open", description_result);
    Place place;
    return details != nullptr &&
                   find_place(*details, argument(arguments, 0), nullptr, true, place) &&
                   set_call<engine::DescribeCall>(*details)
               ? start(context, std::move(details), place.fd)
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
               ? start(context, std::move(details), fd)
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
    return start(context, std::move(details), fd);
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
    return start(context, std::move(details), place.fd);
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
    return start(context, std::move(details), place.fd);
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
               ? start(context, std::move(details), place.fd, second_fd)
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
               ? start(context, std::move(details), place.fd)
               : nullptr;
}

PyObject* stat_file_system(PyObject* context, Arguments arguments) {
    auto details = make_details("statvfs", statvfs_result);
    Place place;
    return details != nullptr &&
                   find_place(*details, argument(arguments, 0), nullptr, true, place) &&
                   set_call<engine::StatvfsCall>(*details, place.path)
               ? start(context, std::move(details), place.fd)
               : nullptr;
}

PyObject* list_directory(PyObject* context, Arguments arguments) {
    auto details = make_details("listdir", names_result);
    Place place;
    return details != nullptr &&
                   find_place(*details, argument(arguments, 0), nullptr, true, place) &&
                   set_call<engine::ScanCall>(*details, place.path, engine::ScanCall::Wants::names,
                                              std::size_t{0})
               ? start(context, std::move(details), place.fd)
               : nullptr;
}

// Arguments: the directory, as a path or an fd to read on from; the beginning of the entries'
// paths; how many entries to read; whether to read their status.
PyObject* scan_directory(PyObject* context, Arguments arguments) {
    auto details = make_details("scandir", entries_result);
    Place place;
    std::int64_t most = 0;
    bool wants_status = true;
    if (details == nullptr || !to_int64(arguments, 2, "most", most) ||
        !to_bool(arguments, 3, wants_status) ||
        !find_place(*details, argument(arguments, 0), nullptr, true, place) ||
        !set_call<engine::ScanCall>(
            *details, place.path,
            wants_status ? engine::ScanCall::Wants::status : engine::ScanCall::Wants::types,
            static_cast<std::size_t>(most))) {
        return nullptr;
    }
    details->payload = Ref::borrow(argument(arguments, 1));
    return start(context, std::move(details), place.fd);
}

// Arguments: a path; the size of the memory to allocate for it, or None; whether to bypass the page
// cache.
PyObject* read_file(PyObject* context, Arguments arguments) {
    auto details = make_details("open", read_result);
    Place place;
    std::int64_t size = -1;
    bool is_direct = false;
    if (details == nullptr || !to_int64(arguments, 1, "size", size) ||
        !to_bool(arguments, 2, is_direct) ||
        !find_place(*details, argument(arguments, 0), nullptr, false, place)) {
        return nullptr;
    }
    engine::ReadFileCall::Memory memory;
    if (size >= 0) {
        if (size > PY_SSIZE_T_MAX) {
            return PyErr_NoMemory();
        }
        details->payload =
            Ref::steal(PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(size)));
        if (!details->payload) {
            return nullptr;
        }
        memory = {.data = PyBytes_AS_STRING(details->payload.get()),
                  .size = static_cast<std::size_t>(size)};
    }
    return set_call<engine::ReadFileCall>(*details, place.fd, place.path, memory, is_direct)
               ? start(context, std::move(details), place.fd)
               : nullptr;
}

PyObject* read_part(PyObject* context, Arguments arguments) {
    auto details = make_details("open", part_result);
    Place place;
    std::int64_t offset = 0;
    std::int64_t length = -1;
    return details != nullptr &&
                   find_place(*details, argument(arguments, 0), nullptr, false, place) &&
                   to_int64(arguments, 1, "offset", offset) &&
                   to_int64(arguments, 2, "length", length) &&
                   set_call<engine::ReadPartCall>(*details, place.path, offset, length,
                                                  engine::FilePart::Streams::leave)
               ? start(context, std::move(details), place.fd)
               : nullptr;
}

// _read_parts(paths, offsets, lengths): three sequences of the same length.
PyObject* read_parts(PyObject* context, Arguments arguments) {
    auto details = make_details("open", parts_result);
    if (details == nullptr) {
        return nullptr;
    }
    details->other_path = Ref::steal(PySequence_Tuple(arguments[0]));
    if (!details->other_path) {
        return nullptr;
    }
    const auto offsets = Ref::steal(PySequence_Tuple(arguments[1]));
    if (!offsets) {
        return nullptr;
    }
    const auto lengths = Ref::steal(PySequence_Tuple(arguments[2]));
    if (!lengths) {
        return nullptr;
    }
    PyObject* paths = details->other_path.get();
    const auto count = PyTuple_GET_SIZE(paths);
    if (PyTuple_GET_SIZE(offsets.get()) != count || PyTuple_GET_SIZE(lengths.get()) != count) {
        PyErr_SetString(PyExc_ValueError, "paths, offsets and lengths must have the same length");
        return nullptr;
    }
    details->path = Ref::steal(PyTuple_New(count));  // encoded
    if (!details->path ||
        !set_call<engine::ReadPartsCall>(*details, static_cast<std::size_t>(count))) {
        return nullptr;
    }
    const auto items = call_of<engine::ReadPartsCall>(*details).items();
    if (items.size() != static_cast<std::size_t>(count)) {
        return PyErr_NoMemory();
    }
    for (Py_ssize_t i = 0; i < count; ++i) {
        Ref path;
        const auto offset =
            to_integer(PyTuple_GET_ITEM(offsets.get(), i), "offset", INT64_MIN, INT64_MAX);
        if (!offset) {
            return nullptr;
        }
        const auto length =
            to_integer(PyTuple_GET_ITEM(lengths.get(), i), "length", INT64_MIN, INT64_MAX);
        if (!length || !encode(PyTuple_GET_ITEM(paths, i), path)) {
            return nullptr;
        }
        items[static_cast<std::size_t>(i)].part =
            engine::FilePart(PyBytes_AS_STRING(path.get()), *offset, *length);
        PyTuple_SET_ITEM(details->path.get(), i, path.release());
    }
    return start(context, std::move(details), AT_FDCWD);
}

// The buffer is exported until the call is over, even if its task is cancelled.
PyObject* replace_file(PyObject* context, Arguments arguments) {
    auto details = make_details("open", written_result<engine::ReplaceFileCall>);
    Place place;
    engine::ReplaceFileCall::Options options;
    if (details == nullptr || !to_bool(arguments, 2, options.exclusive) ||
        !to_bool(arguments, 3, options.durable) || !to_bool(arguments, 4, options.makes_parents) ||
        !find_place(*details, argument(arguments, 0), nullptr, false, place)) {
        return nullptr;
    }
    details->payload = Ref::steal(PyMemoryView_GetContiguous(arguments[1], PyBUF_READ, 'C'));
    if (!details->payload) {
        return nullptr;
    }
    const Py_buffer* data = PyMemoryView_GET_BUFFER(details->payload.get());
    return set_call<engine::ReplaceFileCall>(*details, place.path,
                                             static_cast<const char*>(data->buf),
                                             static_cast<std::size_t>(data->len), options)
               ? start(context, std::move(details), place.fd)
               : nullptr;
}

// Arguments: a path; a buffer, which is kept exported; whether the file is to be durable, and
// whether the write is to be atomic.
PyObject* write_file(PyObject* context, Arguments arguments) {
    auto details = make_details("open", written_result<engine::WriteFileCall>);
    Place place;
    engine::WriteFileCall::Options options;
    if (details == nullptr || !to_bool(arguments, 2, options.is_durable) ||
        !to_bool(arguments, 3, options.is_atomic) ||
        !find_place(*details, argument(arguments, 0), nullptr, false, place) ||
        !details->buffer.acquire(arguments[1], PyBUF_SIMPLE)) {
        return nullptr;
    }
    return set_call<engine::WriteFileCall>(*details, place.path, details->buffer.data(),
                                           details->buffer.size(), options)
               ? start(context, std::move(details), place.fd)
               : nullptr;
}

// Arguments: the fd to write to, at its position; bytes.
PyObject* write_here(PyObject* context, Arguments arguments) {
    auto details = make_details("write", number_result);
    int fd = -1;
    PyObject* data = argument(arguments, 1);
    if (details == nullptr || !to_int(arguments, 0, "fd", fd)) {
        return nullptr;
    }
    if (data == nullptr || !PyBytes_CheckExact(data)) {
        PyErr_SetString(PyExc_TypeError, "bytes are needed");
        return nullptr;
    }
    details->payload = Ref::borrow(data);
    return set_call<engine::WriteHereCall>(*details, PyBytes_AS_STRING(data),
                                           static_cast<std::size_t>(PyBytes_GET_SIZE(data)))
               ? start(context, std::move(details), fd)
               : nullptr;
}

// Arguments: the fd to write to; the fd to read from; the offset (-1: the current position); the
// count.
PyObject* send_file(PyObject* context, Arguments arguments) {
    auto details = make_details("sendfile", number_result);
    int out = -1;
    int in = -1;
    engine::PathArguments values{.first = -1};
    if (details == nullptr || !to_int(arguments, 0, "out_fd", out) ||
        !to_int(arguments, 1, "in_fd", in) || !to_int64(arguments, 2, "offset", values.first) ||
        !to_int64(arguments, 3, "count", values.second) ||
        !set_call<engine::PathCall>(*details, engine::path_functions::sendfile, values)) {
        return nullptr;
    }
    return start(context, std::move(details), out < 0 ? -1 : out, in < 0 ? -1 : in);
}

// Arguments: the fd to write to; the fd to read from.
PyObject* copy_file(PyObject* context, Arguments arguments) {
    auto details = make_details("copyfile", number_result);
    int out = -1;
    int in = -1;
    if (details == nullptr || !to_int(arguments, 0, "out_fd", out) ||
        !to_int(arguments, 1, "in_fd", in) ||
        !set_call<engine::PathCall>(*details, engine::path_functions::copy,
                                    engine::PathArguments{})) {
        return nullptr;
    }
    return start(context, std::move(details), out < 0 ? -1 : out, in < 0 ? -1 : in);
}

template <auto function, std::size_t least, std::size_t most>
PyObject* method(PyObject* context, PyObject* const* arguments, Py_ssize_t count) {
    const auto given = static_cast<std::size_t>(count);
    if (given < least || given > most) {
        PyErr_Format(PyExc_TypeError, "from %zu to %zu arguments are expected, not %zd", least,
                     most, count);
        return nullptr;
    }
    return function(context, {arguments, given});
}

template <auto function, std::size_t least, std::size_t most>
constexpr PyMethodDef entry(const char* name) {
    return {name, as_method(method<function, least, most>), METH_FASTCALL, nullptr};
}

}  // namespace

const PyMethodDef* path_methods() {
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
        entry<scan_directory, 4, 4>("_scandir"),
        entry<read_file, 1, 3>("_read_file"),
        entry<write_file, 2, 4>("_write_file"),
        entry<send_file, 4, 4>("_sendfile"),
        entry<copy_file, 2, 2>("_copy"),
        entry<copy_file_status, 2, 5>("_copy_status"),
        entry<read_part, 1, 3>("_read_part"),
        entry<read_parts, 3, 3>("_read_parts"),
        entry<replace_file, 2, 5>("_replace_file"),
        entry<write_here, 2, 2>("_write_here"),
        {},
    };
    return methods;
}

PyObject* start_call(ContextObject* context, Details details, int fd, int second_fd) {
    auto& state = state_of(context);
    const char* name = details->name;
    auto* operation = state.free_operations.allocate(state.operation_type);
    if (operation == nullptr) {
        return nullptr;
    }
    const auto owner = Ref::steal(operation);
    PyObject_GC_Track(operation);
    operation->kind = OperationKind::call;
    operation->file.set_number(fd);
    operation->request.opcode = engine::Opcode::call;
    operation->request.call = details->call.get();
    operation->request.second_fd = second_fd;
    operation->details = std::move(details);
    return make_awaitable(context, operation, true, name);
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

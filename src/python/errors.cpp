// SPDX-License-Identifier: Apache-2.0
#include "python/errors.hpp"

#include <fcntl.h>

#include <array>
#include <cerrno>
#include <fstream>
#include <string>
#include <system_error>

#include "engine/engine.hpp"
#include "python/direct_io.hpp"

namespace python {
namespace {

void raise_described(int error, const std::string& description) {
    const auto text = std::generic_category().message(error) + ": " + description;
    raise_os_error(error, text.c_str());
}

std::string line_of(const char* path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return line.empty() ? "unknown" : line;
}

// For EBADF. The kernel does not tell which number it means: asks about the file's, and says so if
// the eventfd's is closed.
std::string questions_about_numbers(const OperationObject* operation) {
    std::string text;
    if (reads(operation->kind)) {
        text = " (is it open, and for reading?)";
    } else if (writes(operation->kind)) {
        text = " (is it open, and for writing?)";
    }
    const auto& request = operation->request;
    const bool has_programs =
        operation->state != OperationState::completed && request.eventfd_may_block;
    if (const int eventfd = request.eventfd;
        has_programs && eventfd >= 0 && fcntl(eventfd, F_GETFD) < 0) {
        text += " (its eventfd, " + std::to_string(eventfd) + ", is closed)";
    }
    return text;
}

// Names flags of open(2) that were given as RWF_* flags. Returns an empty string if there are none.
std::string hint_at_flags(int flags) {
    // The RWF_* flags up to Linux 6.18. Higher bits are meant for open(2).
    constexpr int all_of_rwf = 0x1ff;
    struct Name {
        int flag;
        const char* name;
    };
    static constexpr std::array<Name, 9> names{{{O_DIRECT, "O_DIRECT"},
                                                {O_SYNC, "O_SYNC"},
                                                {O_DSYNC, "O_DSYNC"},
                                                {O_NONBLOCK, "O_NONBLOCK"},
                                                {O_APPEND, "O_APPEND"},
                                                {O_TRUNC, "O_TRUNC"},
                                                {O_NOATIME, "O_NOATIME"},
                                                {O_CLOEXEC, "O_CLOEXEC"},
                                                {O_NOFOLLOW, "O_NOFOLLOW"}}};
    if ((flags & ~all_of_rwf) == 0) {
        return " (flags: the file does not support all of these RWF_* flags)";
    }
    std::string text = " (flags are RWF_* flags, see pwritev2(2)";
    for (const auto& [flag, name] : names) {
        if (flag != 0 && (flags & flag) == flag) {
            return text + "; os." + name + " is given to os.open()" + ")";
        }
    }
    return text + ")";
}

// Says what is wrong with an I/O priority. Returns an empty string if that is not known.
std::string hint_at_priority(unsigned priority, int error) {
    constexpr unsigned class_shift = 13;
    const unsigned of_class = priority >> class_shift;
    if (error == EPERM && of_class == 1) {
        return " (priority: IOPriorityClass.REALTIME needs CAP_SYS_NICE or CAP_SYS_ADMIN)";
    }
    if (error != EINVAL || priority == 0 || (of_class >= 1 && of_class <= 3)) {
        return {};
    }
    return " (priority " + std::to_string(priority) +
           " is none: make one with ioprio(), as ioprio(IOPriorityClass.IDLE))";
}

// Says what is known of the cause besides the errno. Returns an empty string if that is nothing.
std::string remedy(const OperationObject* operation, int error) {
    if (error == EBADF) {
        return questions_about_numbers(operation);
    }
    if (error == ETOOMANYREFS) {
        return " (of descriptors that are on their way through sockets a user may have as many as "
               "ulimit -n says)";
    }
    if (error == EUSERS) {
        return " (no thread can be started: ulimit -u, a cgroup's pids.max or a sandbox forbids "
               "it)";
    }
    const auto& request = operation->request;
    if (error == EOPNOTSUPP && request.rw_flags != 0) {
        return hint_at_flags(request.rw_flags);
    }
    if (auto hint = hint_at_priority(request.priority, error); !hint.empty()) {
        return hint;
    }
    if (error == EINVAL) {
        const auto misalignment = describe_misalignment(*operation);
        return misalignment.empty() ? "" : " (O_DIRECT: " + misalignment + ")";
    }
    return {};
}

}  // namespace

PyObject* raise_os_error(int error, const char* text) {
    const auto exception = Ref::steal(PyObject_CallFunction(PyExc_OSError, "is", error, text));
    if (exception) {
        PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception.get())), exception.get());
    }
    return nullptr;
}

PyObject* raise_operation_error(const OperationObject* operation, int error) {
    if (operation->kind == OperationKind::call) {
        const auto& details = *operation->details;
        errno = error;
        return PyErr_SetFromErrnoWithFilenameObjects(PyExc_OSError, details.filename.get(),
                                                     details.other_filename.get());
    }
    const auto description = Ref::steal(describe(operation));
    const char* text = description ? PyUnicode_AsUTF8(description.get()) : nullptr;
    if (text != nullptr) {
        raise_described(error, text + remedy(operation, error));
    }
    return nullptr;
}

PyObject* raise_queue_full(const OperationObject* operation, std::size_t max_requests) {
    const auto description = Ref::steal(describe(operation));
    const char* text = description ? PyUnicode_AsUTF8(description.get()) : nullptr;
    if (text != nullptr) {
        raise_described(EAGAIN, std::string(text) + ": the queue is full, with " +
                                    std::to_string(max_requests) +
                                    " operations in flight or not collected");
    }
    return nullptr;
}

PyObject* raise_setup_error(std::string_view engine, int error, unsigned max_requests) {
    if (error == EAGAIN) {
        raise_described(error, "io_setup for " + std::to_string(max_requests) +
                                   " requests: the machine's limit of queued requests, "
                                   "/proc/sys/fs/aio-max-nr, is " +
                                   line_of("/proc/sys/fs/aio-max-nr") + ", of which " +
                                   line_of("/proc/sys/fs/aio-nr") +
                                   " are in use; close contexts, ask for fewer, or raise it with "
                                   "'sysctl fs.aio-max-nr=N'");
    } else if (error == EINVAL) {
        raise_described(error, "io_setup for " + std::to_string(max_requests) +
                                   " requests: more than the kernel can ever queue");
    } else {
        std::array<char, 120> reason{};
        engine::explain_refusal(engine, error, reason);
        raise_described(error, "engine '" + std::string(engine) + "': " + reason.data());
    }
    return nullptr;
}

}  // namespace python

// SPDX-License-Identifier: Apache-2.0
// The extension module _quarantine, for the Python tests and never installed: memory that Python
// gives back is kept and watched, and whoever writes to it too late leaves a trace.
//
// AddressSanitizer does not see what the kernel writes. So hooks in Python's allocators fill each
// block that is freed with a pattern and keep it allocated: where the pattern is damaged, somebody
// wrote to memory that was not his any more. The memory of bytes and bytearray objects comes from
// these allocators, in every build of Python.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <linux/aio_abi.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <unordered_map>
#include <utility>

namespace {

// --- the quarantine

constexpr unsigned char pattern = 0xdb;

class Quarantine {
public:
    // Watches blocks of at least so many bytes, of those allocated from now on.
    void start(std::size_t smallest);

    // Frees what is kept, and watches no longer.
    void stop();

    // How many blocks of this size were given back.
    std::size_t given_back(std::size_t size);

    // How many blocks were written to after they were given back.
    std::size_t damaged();

private:
    struct Domain {
        Quarantine* quarantine = nullptr;
        PyMemAllocatorDomain name{};
        PyMemAllocatorEx below{};
    };

    struct Block {
        std::size_t size = 0;
        const Domain* domain = nullptr;
    };
    using Blocks = std::unordered_map<void*, Block>;  // by address

    static const Domain& domain_of(void* context) {
        return *static_cast<const Domain*>(context);
    }
    static void* allocate(void* context, std::size_t size);
    static void* allocate_zeroed(void* context, std::size_t count, std::size_t size);
    static void* resize(void* context, void* address, std::size_t size);
    static void give_back(void* context, void* address);

    void* watch(const Domain& domain, void* address, std::size_t size);
    std::size_t watched_size(void* address);
    bool keep(void* address);

    // Also for threads without the GIL: free-threaded Python has none.
    std::mutex mutex_;
    bool started_ = false;
    std::size_t smallest_ = 0;
    Blocks in_use_;
    Blocks kept_;
    std::array<Domain, 2> domains_{Domain{.quarantine = this, .name = PYMEM_DOMAIN_MEM},
                                   Domain{.quarantine = this, .name = PYMEM_DOMAIN_OBJ}};
};

// Never destroyed: memory is given back until the very end of the process.
Quarantine& quarantine() {
    static auto& instance = *new Quarantine;
    return instance;
}

void Quarantine::start(std::size_t smallest) {
    if (std::exchange(started_, true)) {
        return;
    }
    smallest_ = smallest;
    for (auto& domain : domains_) {
        PyMem_GetAllocator(domain.name, &domain.below);
        PyMemAllocatorEx hooks{.ctx = &domain,
                               .malloc = allocate,
                               .calloc = allocate_zeroed,
                               .realloc = resize,
                               .free = give_back};
        PyMem_SetAllocator(domain.name, &hooks);
    }
}

void Quarantine::stop() {
    if (!std::exchange(started_, false)) {
        return;
    }
    for (auto& domain : domains_) {
        PyMem_SetAllocator(domain.name, &domain.below);
    }
    const std::lock_guard lock(mutex_);
    for (const auto& [address, block] : kept_) {
        const auto& below = block.domain->below;
        below.free(below.ctx, address);
    }
    kept_.clear();
    in_use_.clear();
}

std::size_t Quarantine::given_back(std::size_t size) {
    const std::lock_guard lock(mutex_);
    return static_cast<std::size_t>(std::ranges::count_if(
        kept_, [size](const auto& entry) { return entry.second.size == size; }));
}

std::size_t Quarantine::damaged() {
    const std::lock_guard lock(mutex_);
    return static_cast<std::size_t>(std::ranges::count_if(kept_, [](const auto& entry) {
        const auto* bytes = static_cast<const unsigned char*>(entry.first);
        return std::any_of(bytes, bytes + entry.second.size,
                           [](unsigned char byte) { return byte != pattern; });
    }));
}

void* Quarantine::watch(const Domain& domain, void* address, std::size_t size) {
    if (address != nullptr && size >= smallest_) {
        const std::lock_guard lock(mutex_);
        in_use_[address] = {.size = size, .domain = &domain};
    }
    return address;
}

// 0 for a block that is not watched.
std::size_t Quarantine::watched_size(void* address) {
    const std::lock_guard lock(mutex_);
    const auto found = in_use_.find(address);
    return found == in_use_.end() ? 0 : found->second.size;
}

// False if the block is not watched, so that it is to be freed as ever.
bool Quarantine::keep(void* address) {
    const std::lock_guard lock(mutex_);
    const auto found = in_use_.find(address);
    if (found == in_use_.end()) {
        return false;
    }
    std::memset(address, pattern, found->second.size);
    kept_.insert(*found);
    in_use_.erase(found);
    return true;
}

void* Quarantine::allocate(void* context, std::size_t size) {
    const auto& domain = domain_of(context);
    void* address = domain.below.malloc(domain.below.ctx, size);
    return domain.quarantine->watch(domain, address, size);
}

void* Quarantine::allocate_zeroed(void* context, std::size_t count, std::size_t size) {
    const auto& domain = domain_of(context);
    void* address = domain.below.calloc(domain.below.ctx, count, size);
    return domain.quarantine->watch(domain, address, count * size);
}

// A block that is watched always moves: what is cut off, or left behind, was given back too.
void* Quarantine::resize(void* context, void* address, std::size_t size) {
    const auto& domain = domain_of(context);
    const auto old_size = domain.quarantine->watched_size(address);
    if (old_size == 0) {
        void* resized = domain.below.realloc(domain.below.ctx, address, size);
        return domain.quarantine->watch(domain, resized, size);
    }
    void* moved = allocate(context, size);
    if (moved != nullptr) {
        std::memcpy(moved, address, std::min(old_size, size));
        domain.quarantine->keep(address);
    }
    return moved;
}

void Quarantine::give_back(void* context, void* address) {
    const auto& domain = domain_of(context);
    if (!domain.quarantine->keep(address)) {
        domain.below.free(domain.below.ctx, address);
    }
}

// --- a report at the very end of the process, when Python has given back what it ever will

struct Reporting {
    int report = -1;      // where it is written
    int permission = -1;  // what is waited for, after "waiting" was written
} reporting;

void report() {
    dprintf(reporting.report, "waiting\n");
    char unused = 0;
    static_cast<void>(!read(reporting.permission, &unused, 1));
    dprintf(reporting.report, "damaged %zu\n", quarantine().damaged());
}

// --- a read of kernel AIO that keeps nothing alive: what the project is there to prevent

struct BareRead {
    aio_context_t context = 0;
    iocb request{};
};

bool begin(BareRead& read, int fd, std::uintptr_t address, std::size_t size) {
    if (syscall(SYS_io_setup, 1, &read.context) != 0) {
        return false;
    }
    read.request.aio_lio_opcode = IOCB_CMD_PREAD;
    read.request.aio_fildes = static_cast<std::uint32_t>(fd);
    read.request.aio_buf = address;
    read.request.aio_nbytes = size;
    std::array<iocb*, 1> requests{&read.request};
    return syscall(SYS_io_submit, read.context, 1, requests.data()) == 1;
}

// --- the module

PyObject* start(PyObject* /*module*/, PyObject* argument) {
    const auto smallest = PyLong_AsSize_t(argument);
    if (PyErr_Occurred() != nullptr) {
        return nullptr;
    }
    quarantine().start(smallest);
    Py_RETURN_NONE;
}

PyObject* stop(PyObject* /*module*/, PyObject* /*unused*/) {
    quarantine().stop();
    Py_RETURN_NONE;
}

PyObject* given_back(PyObject* /*module*/, PyObject* argument) {
    const auto size = PyLong_AsSize_t(argument);
    return PyErr_Occurred() == nullptr ? PyLong_FromSize_t(quarantine().given_back(size)) : nullptr;
}

PyObject* damaged(PyObject* /*module*/, PyObject* /*unused*/) {
    return PyLong_FromSize_t(quarantine().damaged());
}

PyObject* report_at_exit(PyObject* /*module*/, PyObject* arguments) {
    if (PyArg_ParseTuple(arguments, "ii", &reporting.report, &reporting.permission) == 0) {
        return nullptr;
    }
    if (std::atexit(report) != 0) {
        return PyErr_NoMemory();
    }
    Py_RETURN_NONE;
}

PyObject* begin_read(PyObject* /*module*/, PyObject* arguments) {
    int fd = -1;
    Py_ssize_t address = 0;
    Py_ssize_t size = 0;
    if (PyArg_ParseTuple(arguments, "inn", &fd, &address, &size) == 0) {
        return nullptr;
    }
    auto* read = new BareRead;
    if (!begin(*read, fd, static_cast<std::uintptr_t>(address), static_cast<std::size_t>(size))) {
        delete read;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return PyLong_FromVoidPtr(read);
}

// Waits until the kernel is through, which it may be long since.
PyObject* end_read(PyObject* /*module*/, PyObject* argument) {
    auto* read = static_cast<BareRead*>(PyLong_AsVoidPtr(argument));
    if (read == nullptr) {
        return nullptr;
    }
    io_event event{};
    const auto count = syscall(SYS_io_getevents, read->context, 1, 1, &event, nullptr);
    syscall(SYS_io_destroy, read->context);
    delete read;
    return count == 1 ? PyLong_FromLongLong(event.res) : PyErr_SetFromErrno(PyExc_OSError);
}

PyMethodDef methods[] = {
    {"start", start, METH_O, nullptr},
    {"stop", stop, METH_NOARGS, nullptr},
    {"given_back", given_back, METH_O, nullptr},
    {"damaged", damaged, METH_NOARGS, nullptr},
    {"report_at_exit", report_at_exit, METH_VARARGS, nullptr},
    {"begin_read", begin_read, METH_VARARGS, nullptr},
    {"end_read", end_read, METH_O, nullptr},
    {},
};

PyModuleDef_Slot slots[] = {
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, nullptr},
};

PyModuleDef definition{
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "_quarantine",
    .m_doc = "Watches memory that was given back; see support.quarantine.",
    .m_methods = methods,
    .m_slots = slots,
};

}  // namespace

PyMODINIT_FUNC PyInit__quarantine() { return PyModuleDef_Init(&definition); }

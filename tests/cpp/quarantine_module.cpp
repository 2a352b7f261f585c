// SPDX-License-Identifier: Apache-2.0
// The extension module _quarantine, for the Python tests and never installed: memory that is given
// back is kept and watched, and whoever writes to it too late leaves a trace.
//
// AddressSanitizer does not see what the kernel writes. So blocks that are freed get a pattern and
// stay allocated: where the pattern is damaged, somebody wrote to memory that was not his any more.
// That goes for blocks that come from Python's allocators, as the memory of bytes and bytearray
// objects does in every build of Python, and for those that one shared object, the extension module
// under test, gets from the C library.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <dlfcn.h>
#include <link.h>
#include <linux/aio_abi.h>
#include <sys/mman.h>
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
#include <string_view>
#include <unordered_map>
#include <utility>

namespace {

// --- the quarantine

constexpr unsigned char pattern = 0xdb;

class Quarantine {
public:
    // Who frees a block in the end.
    struct Origin {
        void (*release)(void* context, void* address) = nullptr;
        void* context = nullptr;
    };

    // From now on watches blocks of at least so many bytes.
    void start(std::size_t smallest);

    // Frees what is kept, and watches no longer.
    void stop();

    // A block was allocated. Returns its address.
    void* watch(void* address, std::size_t size, Origin origin);

    // 0 for a block that is not watched.
    std::size_t watched_size(void* address);

    // A block is to be freed. False if it is not watched, and really to be freed.
    bool keep(void* address);

    // How many blocks of `least` to `limit` - 1 bytes were given back.
    std::size_t given_back(std::size_t least, std::size_t limit);

    // How many blocks were written to after they were given back.
    std::size_t damaged();

private:
    struct Block {
        std::size_t size = 0;
        Origin origin;
    };
    using Blocks = std::unordered_map<void*, Block>;  // by address

    // Also for threads without the GIL.
    std::mutex mutex_;
    bool started_ = false;
    std::size_t smallest_ = 0;
    Blocks in_use_;
    Blocks kept_;
};

// Never destroyed: memory is given back until the very end of the process.
Quarantine& quarantine() {
    static auto& instance = *new Quarantine;
    return instance;
}

void Quarantine::start(std::size_t smallest) {
    const std::lock_guard lock(mutex_);
    started_ = true;
    smallest_ = std::max(smallest, std::size_t{1});
}

void Quarantine::stop() {
    Blocks kept;
    {
        const std::lock_guard lock(mutex_);
        started_ = false;
        in_use_.clear();
        kept.swap(kept_);
    }
    for (const auto& [address, block] : kept) {
        block.origin.release(block.origin.context, address);
    }
}

void* Quarantine::watch(void* address, std::size_t size, Origin origin) {
    const std::lock_guard lock(mutex_);
    if (started_ && address != nullptr && size >= smallest_) {
        in_use_[address] = {.size = size, .origin = origin};
    }
    return address;
}

std::size_t Quarantine::watched_size(void* address) {
    const std::lock_guard lock(mutex_);
    const auto found = in_use_.find(address);
    return found == in_use_.end() ? 0 : found->second.size;
}

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

std::size_t Quarantine::given_back(std::size_t least, std::size_t limit) {
    const std::lock_guard lock(mutex_);
    return static_cast<std::size_t>(std::ranges::count_if(kept_, [&](const auto& entry) {
        return least <= entry.second.size && entry.second.size < limit;
    }));
}

std::size_t Quarantine::damaged() {
    const std::lock_guard lock(mutex_);
    return static_cast<std::size_t>(std::ranges::count_if(kept_, [](const auto& entry) {
        // all are the pattern, if the first is, and each is as the one before
        const auto* bytes = static_cast<const unsigned char*>(entry.first);
        return bytes[0] != pattern || std::memcmp(bytes, bytes + 1, entry.second.size - 1) != 0;
    }));
}

// --- Python's allocators

struct Domain {
    PyMemAllocatorDomain name{};
    PyMemAllocatorEx below{};

    Quarantine::Origin origin() const { return {.release = below.free, .context = below.ctx}; }
};

const Domain& domain_of(void* context) { return *static_cast<const Domain*>(context); }

void* allocate(void* context, std::size_t size) {
    const auto& domain = domain_of(context);
    return quarantine().watch(domain.below.malloc(domain.below.ctx, size), size, domain.origin());
}

void* allocate_zeroed(void* context, std::size_t count, std::size_t size) {
    const auto& domain = domain_of(context);
    return quarantine().watch(domain.below.calloc(domain.below.ctx, count, size), count * size,
                              domain.origin());
}

// A block that is watched always moves: what is cut off, or left behind, was given back too.
void* resize(void* context, void* address, std::size_t size) {
    const auto& domain = domain_of(context);
    const auto old_size = quarantine().watched_size(address);
    if (old_size == 0) {
        return quarantine().watch(domain.below.realloc(domain.below.ctx, address, size), size,
                                  domain.origin());
    }
    void* moved = allocate(context, size);
    if (moved != nullptr) {
        std::memcpy(moved, address, std::min(old_size, size));
        quarantine().keep(address);
    }
    return moved;
}

void give_back(void* context, void* address) {
    const auto& domain = domain_of(context);
    if (!quarantine().keep(address)) {
        domain.below.free(domain.below.ctx, address);
    }
}

std::array<Domain, 2> domains{Domain{.name = PYMEM_DOMAIN_MEM}, Domain{.name = PYMEM_DOMAIN_OBJ}};

void put_hooks() {
    for (auto& domain : domains) {
        PyMem_GetAllocator(domain.name, &domain.below);
        PyMemAllocatorEx hooks{.ctx = &domain,
                               .malloc = allocate,
                               .calloc = allocate_zeroed,
                               .realloc = resize,
                               .free = give_back};
        PyMem_SetAllocator(domain.name, &hooks);
    }
}

void take_hooks_away() {
    for (auto& domain : domains) {
        PyMem_SetAllocator(domain.name, &domain.below);
    }
}

// --- the C library's, as one shared object calls them

void release_block(void* /*context*/, void* address) { std::free(address); }

int allocate_aligned(void** address, std::size_t alignment, std::size_t size) {
    const int error = posix_memalign(address, alignment, size);
    if (error == 0) {
        quarantine().watch(*address, size, {.release = release_block});
    }
    return error;
}

void give_back_block(void* address) {
    if (!quarantine().keep(address)) {
        std::free(address);
    }
}

// The dynamic section of a shared object that is loaded.
class SharedObject {
public:
    explicit SharedObject(const char* path)
        : map_(static_cast<const link_map*>(dlopen(path, RTLD_LAZY | RTLD_NOLOAD))) {}

    bool is_loaded() const { return map_ != nullptr; }

    // From now on it calls this function where it was linked to that of the name.
    void redirect(std::string_view name, void* function) const {
        redirect_in<ElfW(Rela)>(DT_RELA, entry(DT_RELASZ), name, function);
        redirect_in<ElfW(Rel)>(DT_REL, entry(DT_RELSZ), name, function);
        if (entry(DT_PLTREL) == DT_RELA) {
            redirect_in<ElfW(Rela)>(DT_JMPREL, entry(DT_PLTRELSZ), name, function);
        } else {
            redirect_in<ElfW(Rel)>(DT_JMPREL, entry(DT_PLTRELSZ), name, function);
        }
    }

private:
    using Address = ElfW(Addr);

    Address entry(int tag) const {
        for (const auto* entry = map_->l_ld; entry->d_tag != DT_NULL; ++entry) {
            if (entry->d_tag == tag) {
                return entry->d_un.d_ptr;
            }
        }
        return 0;
    }

    // The C library has made these addresses absolute, but not on every machine.
    template <class Element>
    const Element* table(int tag) const {
        const auto address = entry(tag);
        const bool is_relative = address < map_->l_addr;
        return reinterpret_cast<const Element*>(is_relative ? map_->l_addr + address : address);
    }

    template <class Relocation>
    void redirect_in(int tag, Address size, std::string_view name, void* function) const {
        const auto* names = table<char>(DT_STRTAB);
        const auto* symbols = table<ElfW(Sym)>(DT_SYMTAB);
        for (Address i = 0; i < size / sizeof(Relocation); ++i) {
            const auto& relocation = table<Relocation>(tag)[i];
            const auto symbol = relocation.r_info >> (sizeof(Address) == 8 ? 32U : 8U);
            if (name == names + symbols[symbol].st_name) {
                write(map_->l_addr + relocation.r_offset, function);
            }
        }
    }

    // It may lie where nobody was meant to write any more.
    static void write(Address place, void* function) {
        const auto page = static_cast<Address>(sysconf(_SC_PAGESIZE));
        mprotect(reinterpret_cast<void*>(place - place % page), page, PROT_READ | PROT_WRITE);
        *reinterpret_cast<void**>(place) = function;
    }

    const link_map* map_;
};

// For good: what it allocates while it is watched, it may free later.
bool watch_calls(const char* path) {
    const SharedObject object(path);
    if (!object.is_loaded()) {
        PyErr_Format(PyExc_OSError, "%s is not loaded", path);
        return false;
    }
    object.redirect("posix_memalign", reinterpret_cast<void*>(allocate_aligned));
    object.redirect("free", reinterpret_cast<void*>(give_back_block));
    return true;
}

// --- a report at the very end of the process, when Python has given back what it ever will

struct Reporting {
    int report = -1;      // where it is written
    int permission = -1;  // what is waited for, after "waiting" was written
} reporting;

void report() {
    dprintf(reporting.report, "waiting\n");
    char unused = 0;
    [[maybe_unused]] const auto permitted = read(reporting.permission, &unused, 1);
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

PyObject* start(PyObject* /*module*/, PyObject* arguments) {
    const char* path = nullptr;
    Py_ssize_t smallest = 0;
    if (PyArg_ParseTuple(arguments, "sn", &path, &smallest) == 0) {
        return nullptr;
    }
    if (!watch_calls(path)) {
        return nullptr;
    }
    quarantine().start(static_cast<std::size_t>(smallest));
    put_hooks();
    Py_RETURN_NONE;
}

PyObject* stop(PyObject* /*module*/, PyObject* /*unused*/) {
    take_hooks_away();
    quarantine().stop();
    Py_RETURN_NONE;
}

PyObject* given_back(PyObject* /*module*/, PyObject* arguments) {
    Py_ssize_t least = 0;
    Py_ssize_t limit = 0;
    if (PyArg_ParseTuple(arguments, "nn", &least, &limit) == 0) {
        return nullptr;
    }
    return PyLong_FromSize_t(
        quarantine().given_back(static_cast<std::size_t>(least), static_cast<std::size_t>(limit)));
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
    {"start", start, METH_VARARGS, nullptr},
    {"stop", stop, METH_NOARGS, nullptr},
    {"given_back", given_back, METH_VARARGS, nullptr},
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

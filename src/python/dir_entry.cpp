// SPDX-License-Identifier: Apache-2.0
#include "python/dir_entry.hpp"

#include <dirent.h>
#include <structmember.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <memory>
#include <new>
#include <utility>

#include "python/arguments.hpp"
#include "python/stat_result.hpp"

namespace python {
namespace {

struct DirEntry {
    Ref name;
    Ref path;
    engine::ScannedEntry found;
};

struct DirEntryObject : PyObject, DirEntry {};

DirEntryObject* cast(PyObject* self) { return static_cast<DirEntryObject*>(self); }

// Parses the argument follow_symlinks, a keyword, which several methods have.
bool parse_follows(const char* function, PyObject* const* arguments, Py_ssize_t count,
                   PyObject* names, bool& follows) {
    static constexpr std::array<const char*, 1> parameters{"follow_symlinks"};
    std::array<PyObject*, 1> values{};
    if (count != 0) {
        PyErr_Format(PyExc_TypeError, "%s() takes 0 positional arguments (%zd given)", function,
                     count);
        return false;
    }
    if (!bind_arguments({function, parameters, 0}, arguments, count, names, values)) {
        return false;
    }
    const int truth = values[0] != nullptr ? PyObject_IsTrue(values[0]) : 1;
    follows = truth != 0;
    return truth >= 0;
}

PyObject* raise_error(const DirEntryObject* self, int error) {
    errno = error;
    return PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, self->path.get());
}

// Sets `type` to the type (S_IF*) of the entry or, if `follows` is set, of the file that a symbolic
// link leads to; 0 if that file does not exist. Returns false with an exception set.
bool find_type(const DirEntryObject* self, bool follows, unsigned& type) {
    const auto& found = self->found;
    type = DTTOIF(found.type);
    if (found.type == DT_LNK && follows) {
        if (found.target_error == ENOENT) {
            type = 0;
            return true;
        }
        if (found.target_error != 0) {
            raise_error(self, found.target_error);
            return false;
        }
        type = found.target.stx_mode & unsigned{S_IFMT};
    } else if (found.type == DT_UNKNOWN && found.status_error != 0) {
        type = 0;
        if (found.status_error != ENOENT) {
            raise_error(self, found.status_error);
            return false;
        }
    }
    return true;
}

template <unsigned wanted>
PyObject* is_type(PyObject* object, PyObject* const* arguments, Py_ssize_t count, PyObject* names) {
    bool follows = true;
    unsigned type = 0;
    const char* function = wanted == S_IFDIR ? "is_dir" : "is_file";
    if (!parse_follows(function, arguments, count, names, follows) ||
        !find_type(cast(object), follows, type)) {
        return nullptr;
    }
    return PyBool_FromLong(type == wanted ? 1 : 0);
}

PyObject* is_symlink(PyObject* object, PyObject* /*unused*/) {
    return PyBool_FromLong(cast(object)->found.type == DT_LNK ? 1 : 0);
}

PyObject* is_junction(PyObject* /*object*/, PyObject* /*unused*/) { Py_RETURN_FALSE; }

PyObject* inode(PyObject* object, PyObject* /*unused*/) {
    return PyLong_FromUnsignedLongLong(cast(object)->found.inode);
}

PyDoc_STRVAR(stat_doc,
             "stat($self, /, *, follow_symlinks=True)\n--\n\n"
             "Return the os.stat_result of the time when the directory was read: see stat(2).\n\n"
             "RuntimeError if scandir() was told to leave it out; OSError where it failed.");

PyObject* stat_of_entry(PyObject* object, PyObject* const* arguments, Py_ssize_t count,
                        PyObject* names) {
    const auto* self = cast(object);
    bool follows = true;
    if (!parse_follows("stat", arguments, count, names, follows)) {
        return nullptr;
    }
    const auto& found = self->found;
    const bool is_of_target = found.type == DT_LNK && follows;
    if (!(is_of_target ? found.has_target : found.has_status)) {
        PyErr_SetString(PyExc_RuntimeError,
                        "scandir(stat=False) has left it out: await fs.stat(entry)");
        return nullptr;
    }
    const int error = is_of_target ? found.target_error : found.status_error;
    if (error != 0) {
        return raise_error(self, error);
    }
    return make_stat_result(state_of(object).stat_result,
                            is_of_target ? found.target : found.status);
}

PyObject* fspath(PyObject* object, PyObject* /*unused*/) { return cast(object)->path.new_ref(); }

PyObject* get_name(PyObject* object, void* /*closure*/) { return cast(object)->name.new_ref(); }
PyObject* get_path(PyObject* object, void* /*closure*/) { return cast(object)->path.new_ref(); }

PyObject* repr(PyObject* object) {
    return PyUnicode_FromFormat("<DirEntry %R>", cast(object)->name.get());
}

void dealloc(PyObject* object) {
    auto* type = Py_TYPE(object);
    std::destroy_at(static_cast<DirEntry*>(cast(object)));
    type->tp_free(object);
    Py_DECREF(type);
}

PyMethodDef methods[] = {
    {"is_dir", as_method(is_type<S_IFDIR>), METH_FASTCALL | METH_KEYWORDS,
     "is_dir($self, /, *, follow_symlinks=True)\n--\n\nWhether it is a directory."},
    {"is_file", as_method(is_type<S_IFREG>), METH_FASTCALL | METH_KEYWORDS,
     "is_file($self, /, *, follow_symlinks=True)\n--\n\nWhether it is a regular file."},
    {"is_symlink", is_symlink, METH_NOARGS, "is_symlink($self, /)\n--\n\nWhether it is a link."},
    {"is_junction", is_junction, METH_NOARGS, "is_junction($self, /)\n--\n\nFalse, on Linux."},
    {"inode", inode, METH_NOARGS, "inode($self, /)\n--\n\nThe inode's number."},
    {"stat", as_method(stat_of_entry), METH_FASTCALL | METH_KEYWORDS, stat_doc},
    {"__fspath__", fspath, METH_NOARGS, "__fspath__($self, /)\n--\n\nThe path."},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, nullptr},
    {},
};

PyGetSetDef properties[] = {
    {"name", get_name, nullptr, "The name in its directory.", nullptr},
    {"path", get_path, nullptr, "The directory's path, as scandir() was given it, and the name.",
     nullptr},
    {},
};

PyType_Slot slots[] = {
    {Py_tp_dealloc, as_slot(dealloc)},
    {Py_tp_repr, as_slot(repr)},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {Py_tp_doc, const_cast<char*>("An entry of a directory, as os.DirEntry.")},
    {0, nullptr},
};

PyType_Spec spec{
    .name = "linux_aio._core._DirEntry",
    .basicsize = sizeof(DirEntryObject),
    .itemsize = 0,
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};

// The length of a str or bytes, also of one of a subclass with a __len__ of its own.
Py_ssize_t length_of(PyObject* text) {
    return PyBytes_Check(text) ? PyBytes_GET_SIZE(text) : PyUnicode_GET_LENGTH(text);
}

// Returns "directory/", or "" for no directory.
Ref make_prefix(PyObject* directory, bool as_bytes) {
    if (directory == nullptr || !(PyUnicode_Check(directory) || PyBytes_Check(directory))) {
        return Ref::steal(PyUnicode_FromString(""));
    }
    const auto slash = Ref::steal(as_bytes ? PyBytes_FromString("/") : PyUnicode_FromString("/"));
    if (!slash) {
        return {};
    }
    const auto length = length_of(directory);
    bool has_slash = length == 0;
    if (length > 0) {
        has_slash = as_bytes ? PyBytes_AS_STRING(directory)[length - 1] == '/'
                             : PyUnicode_READ_CHAR(directory, length - 1) == '/';
    }
    return has_slash ? Ref::borrow(directory)
                     : Ref::steal(PySequence_Concat(directory, slash.get()));
}

}  // namespace

PyTypeObject* make_dir_entry_type(PyObject* module) {
    return reinterpret_cast<PyTypeObject*>(PyType_FromModuleAndSpec(module, &spec, nullptr));
}

PyObject* make_dir_entries(const ModuleState& state, const engine::ScanCall& call,
                           PyObject* directory) {
    const bool as_bytes = directory != nullptr && PyBytes_Check(directory);
    const auto prefix = make_prefix(directory, as_bytes);
    auto list = Ref::steal(PyList_New(static_cast<Py_ssize_t>(call.entries().size())));
    if (!prefix || !list) {
        return nullptr;
    }
    const bool has_prefix = length_of(prefix.get()) != 0;
    for (std::size_t i = 0; i < call.entries().size(); ++i) {
        const auto& found = call.entries()[i];
        auto* object = state.dir_entry_type->tp_alloc(state.dir_entry_type, 0);
        if (object == nullptr) {
            return nullptr;
        }
        PyList_SET_ITEM(list.get(), static_cast<Py_ssize_t>(i), object);
        auto* entry = cast(object);
        new (static_cast<DirEntry*>(entry)) DirEntry;
        const auto text = call.name_of(found);
        const auto length = static_cast<Py_ssize_t>(text.size());
        entry->name = Ref::steal(as_bytes ? PyBytes_FromStringAndSize(text.data(), length)
                                          : PyUnicode_DecodeFSDefaultAndSize(text.data(), length));
        if (!entry->name) {
            return nullptr;
        }
        entry->path = has_prefix ? Ref::steal(PySequence_Concat(prefix.get(), entry->name.get()))
                                 : Ref::borrow(entry->name.get());
        if (!entry->path) {
            return nullptr;
        }
        entry->found = found;
    }
    return list.release();
}

}  // namespace python

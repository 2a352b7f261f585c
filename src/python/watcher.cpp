// SPDX-License-Identifier: Apache-2.0
#include "python/watcher.hpp"

#include <utility>

#include "python/context.hpp"
#include "python/exceptions.hpp"
#include "python/gil.hpp"
#include "python/reference_counts.hpp"

namespace python {

void stop_watching(const EventLoop& loop, engine::CloforkFd fd) noexcept {
    if (loop && fd.is_open()) {
        const KeptException kept;
        loop.kind->remove_reader(loop.get(), fd.get());
    }
}

void stop_watching(WatcherObject* watcher) noexcept {
    const auto loop = std::move(watcher->loop);
    stop_watching(loop, std::move(watcher->fd));
    stop_watching(loop, std::move(watcher->borrowed_fd));
    stop_watching(loop, std::move(watcher->timer));
}

bool start_watching(const EventLoop& loop, const engine::CloforkFd& fd, PyObject* watcher) {
    if (!fd.is_open()) {
        PyErr_SetFromErrno(PyExc_OSError);
        return false;
    }
    return loop.kind->add_reader(loop.get(), fd.get(), watcher);
}

Ref context_of(WatcherObject* watcher) noexcept {
    const ObjectLock lock(watcher);
    return watcher->context != nullptr ? try_reference(watcher->context) : Ref();
}

void forget_context(WatcherObject* watcher) noexcept {
    const ObjectLock lock(watcher);
    watcher->context = nullptr;
}

}  // namespace python

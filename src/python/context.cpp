// SPDX-License-Identifier: Apache-2.0
#include "python/context.hpp"

namespace python {

void Context::open(std::unique_ptr<engine::Engine> engine, engine::CloforkFd eventfd,
                   std::size_t max_requests) noexcept {
    engine_ = std::move(engine);
    engine_name_ = engine_->name();
    eventfd_ = std::move(eventfd);
    max_requests_ = max_requests;
    most_in_flight_ = max_requests;
}

std::unique_ptr<engine::Engine> Context::release_engine() noexcept {
    if (!is_inherited()) {
        last_routes_ = engine_->routes();
    }
    return std::exchange(engine_, nullptr);
}

engine::RouteCounts Context::routes() const noexcept {
    return engine_ != nullptr ? engine_->routes() : last_routes_;
}

void Context::note_submission(std::size_t given, std::size_t taken) noexcept {
    ++statistics_.submissions;
    statistics_.submitted += taken;
    statistics_.short_submissions += taken < given ? 1 : 0;
}

bool check_process(const ContextObject* context) {
    if (context->is_inherited()) {
        PyErr_SetString(PyExc_RuntimeError,
                        "the AIOContext belongs to the process that made it, and this is a child "
                        "of it: make a context after fork");
        return false;
    }
    return true;
}

bool check_usable(const ContextObject* context) {
    if (!check_process(context)) {
        return false;
    }
    if (!context->is_open()) {
        PyErr_SetString(PyExc_ValueError, "operation on closed AIOContext");
        return false;
    }
    return true;
}

}  // namespace python

// SPDX-License-Identifier: Apache-2.0
// Lists of requests.
#pragma once

#include "engine/intrusive_list.hpp"
#include "engine/request.hpp"

namespace engine {

using RequestList = IntrusiveList<Request, &Request::previous, &Request::next>;

// A request may be in one of these and in another list at once.
using PostedList = IntrusiveList<Request, &Request::previous_posted, &Request::next_posted>;

}  // namespace engine

#pragma once
// Request ids: 16 characters of Crockford base32, 40 bits of milliseconds and 40 random bits: short
// enough to be read out by a user, sortable by time within 34 years. In every log record and error
// text.

#include <string>

#include "io/clock.h"

namespace weir::server {

std::string make_request_id(const io::Clock& clock);

}  // namespace weir::server

#include "io/error.h"

#include <cerrno>
#include <cstring>

namespace weir::io {

std::unexpected<Error> fail_errno(const char* where) {
  return fail(Errc::system, where, errno);
}

const char* to_string(Errc code) {
  switch (code) {
    case Errc::cancelled:
      return "cancelled";
    case Errc::deadline_exceeded:
      return "deadline exceeded";
    case Errc::closed:
      return "closed";
    case Errc::system:
      return "system";
    case Errc::protocol:
      return "protocol";
    case Errc::limit:
      return "limit";
    case Errc::invalid:
      return "invalid";
    case Errc::not_found:
      return "not found";
    case Errc::denied:
      return "denied";
    case Errc::unavailable:
      return "unavailable";
    case Errc::corrupt:
      return "corrupt";
  }
  return "unknown";
}

std::string to_string(const Error& error) {
  std::string text = error.where;
  text += ": ";
  text += to_string(error.code);
  if (error.sys_errno != 0) {
    char buffer[128];
    text += ": ";
    text += strerror_r(error.sys_errno, buffer, sizeof buffer);
  }
  return text;
}

}  // namespace weir::io

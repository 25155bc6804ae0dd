#pragma once
// Errors as values: what every fallible function of Weir returns.
// An Error is 16 bytes, trivially copyable and never allocates; text is made where it is logged or
// shown. Bytes from a peer or a disk become an Error; only what cannot happen meets WEIR_CHECK.

#include <cstdint>
#include <expected>
#include <string>

namespace weir::io {

enum class Errc : std::uint8_t {
  cancelled,          // the operation's StopToken fired
  deadline_exceeded,  // its Deadline passed
  closed,             // the peer or the other end is gone
  system,             // a system call failed: see sys_errno
  protocol,           // the peer's bytes break the protocol
  limit,              // a bound was reached (size, count, queue)
  invalid,            // a value that is not allowed (configuration, argument)
  not_found,
  denied,
  unavailable,  // something behind us cannot answer now; never means "no"
  corrupt,      // stored bytes do not hold together
};

struct Error {
  Errc code;
  int sys_errno = 0;       // meaningful for Errc::system
  const char* where = "";  // static string: the operation, e.g. "open packed-refs"
};

template <typename T>
using Result = std::expected<T, Error>;

inline std::unexpected<Error> fail(Errc code, const char* where, int sys_errno = 0) {
  return std::unexpected(Error{code, sys_errno, where});
}

// An Errc::system error from the current errno.
std::unexpected<Error> fail_errno(const char* where);

// "open packed-refs: system: No such file or directory". For logs; never for clients.
std::string to_string(const Error& error);
const char* to_string(Errc code);

}  // namespace weir::io

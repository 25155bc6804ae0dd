#pragma once
// Assertions. WEIR_CHECK stays on in every build and ends the process: the supervisor starts the
// next one. It guards what cannot happen; bytes from outside are never its subject.

#include <cstdio>
#include <cstdlib>

namespace weir::io {

[[noreturn]] inline void check_failed(const char* expression, const char* file, int line) {
  std::fprintf(stderr, "weir: check failed: %s at %s:%d\n", expression, file, line);
  std::abort();
}

}  // namespace weir::io

#define WEIR_CHECK(expression)                                   \
  do {                                                           \
    if (!(expression)) [[unlikely]]                              \
      ::weir::io::check_failed(#expression, __FILE__, __LINE__); \
  } while (false)

#ifdef NDEBUG
#define WEIR_DCHECK(expression) \
  do {                          \
  } while (false)
#else
#define WEIR_DCHECK(expression) WEIR_CHECK(expression)
#endif

#include "server/trace_context.h"

#include <algorithm>
#include <random>

#include "io/digest.h"

namespace weir::server {
namespace {

constexpr std::size_t kTraceparentBytes = 55;  // "00-" 32 "-" 16 "-" 2

bool is_hex(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}
bool all_zero(std::string_view text) {
  return text.find_first_not_of('0') == text.npos;
}

template <std::size_t N>
void fill_random_hex(std::array<char, N>& out) {
  thread_local std::mt19937_64 generator = [] {
    std::uint64_t seed = 0;
    io::fill_random({reinterpret_cast<std::uint8_t*>(&seed), sizeof seed});
    return std::mt19937_64(seed);
  }();
  static constexpr char kDigits[] = "0123456789abcdef";
  std::uint64_t bits = 0;
  for (std::size_t i = 0; i < N; ++i) {
    if (i % 16 == 0) bits = generator() | 1;  // never all zero, which the standard forbids
    out[i] = kDigits[bits & 15];
    bits >>= 4;
  }
}

}  // namespace

TraceContext TraceContext::continue_or_start(std::string_view header) {
  TraceContext context;
  fill_random_hex(context.parent_id);
  const bool usable = header.size() == kTraceparentBytes && header.starts_with("00-") &&
                      header[35] == '-' && header[52] == '-' && is_hex(header.substr(3, 32)) &&
                      is_hex(header.substr(36, 16)) && is_hex(header.substr(53, 2)) &&
                      !all_zero(header.substr(3, 32)) && !all_zero(header.substr(36, 16));
  if (usable) {
    std::copy_n(header.data() + 3, 32, context.trace_id.begin());
    context.sampled = header[54] == '1' || header[54] == '3';
  } else {
    fill_random_hex(context.trace_id);
  }
  return context;
}

std::string TraceContext::traceparent() const {
  std::string text;
  text.reserve(kTraceparentBytes);
  text += "00-";
  text.append(trace_id.data(), trace_id.size());
  text += '-';
  text.append(parent_id.data(), parent_id.size());
  text += sampled ? "-01" : "-00";
  return text;
}

}  // namespace weir::server

#pragma once
// W3C Trace Context (level 1): the traceparent field, read from the request or made. Version 00
// only; anything malformed is replaced, never passed on. A value.

#include <array>
#include <string>
#include <string_view>

namespace weir::server {

struct TraceContext {
  std::array<char, 32> trace_id{};   // lower-case hex
  std::array<char, 16> parent_id{};  // of our span, lower-case hex
  bool sampled = false;

  // `header`: the field's value, "" when absent. The trace id is kept, the span id is always new.
  static TraceContext continue_or_start(std::string_view header);
  std::string traceparent() const;
  std::string_view trace_id_text() const { return {trace_id.data(), trace_id.size()}; }
};

}  // namespace weir::server

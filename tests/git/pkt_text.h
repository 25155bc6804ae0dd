#pragma once
// Builds requests for tests: each line becomes a packet, "0000" a flush, "0001" a delimiter.

#include <initializer_list>
#include <string>
#include <string_view>

#include "git/pkt_line.h"

namespace weir::git {

inline std::string pkts(std::initializer_list<std::string_view> lines) {
  std::string out;
  for (const std::string_view line : lines) {
    if (line == "0000" || line == "0001" || line == "0002") {
      out += line;
    } else {
      append_pkt(out, line);
    }
  }
  return out;
}

inline const std::string kIdA(40, 'a');
inline const std::string kIdB(40, 'b');
inline const std::string kZeroId(40, '0');

}  // namespace weir::git

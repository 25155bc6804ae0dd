// Configuration: any bytes give a Config or a text of whole lines, each with the file's name.

#include <cstdint>
#include <string>

#include "io/check.h"
#include "server/config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto config = weir::server::parse_config("f", text);
  if (config) {
    WEIR_CHECK(config->git.workers_per_loop >= 1 && config->git.workers_per_loop <= 16);
    return 0;
  }
  std::string_view problems = config.error();
  WEIR_CHECK(!problems.empty());
  while (!problems.empty()) {
    const std::string_view line = problems.substr(0, problems.find('\n'));
    problems.remove_prefix(std::min(problems.size(), line.size() + 1));
    WEIR_CHECK(line.starts_with("f:"));
  }
  return 0;
}

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "git/receive_commands.h"
#include "git/report.h"

// Any bytes as the front of a push: in one piece and in small pieces the same comes out, and
// whatever came out can be refused.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace git = weir::git;
  if (size < 1) return 0;
  const std::size_t piece = data[0] % 16 + 1;
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  constexpr std::size_t kBytesMax = 64 * 1024;
  git::ReceiveCommandsParser whole(git::ObjectFormat::sha1, kBytesMax);
  const weir::io::Result<bool> at_once = whole.feed(body);
  if (body.size() > kBytesMax) return 0;  // where the bound strikes depends on the pieces

  git::ReceiveCommandsParser pieces(git::ObjectFormat::sha1, kBytesMax);
  weir::io::Result<bool> stepwise = false;
  for (std::size_t at = 0; at < body.size() && stepwise && !*stepwise; at += piece) {
    stepwise = pieces.feed(body.substr(at, piece));
  }
  if (stepwise.has_value() != at_once.has_value()) std::abort();
  if (at_once && !body.empty() && *at_once != *stepwise) std::abort();
  if (whole.commands_bytes() != pieces.commands_bytes()) std::abort();
  if (whole.commands().commands.size() != pieces.commands().commands.size()) std::abort();
  for (const git::PushCommand& command : whole.commands().commands) {
    if (command.ref_valid && command.ref.find("..") != std::string::npos) std::abort();
  }
  (void)git::push_refusal(whole.commands(), "text", "reason", "id");
  return 0;
}

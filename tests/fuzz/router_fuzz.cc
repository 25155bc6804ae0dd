// Router: whatever the target and Git-Protocol, what reaches the file system is a clean relative
// name.

#include <cstdint>
#include <cstdlib>

#include "io/check.h"
#include "server/router.h"

namespace {

void check_name(std::string_view name) {
  WEIR_CHECK(!name.empty());
  WEIR_CHECK(name.front() != '/' && name.back() != '/');
  while (!name.empty()) {
    const std::string_view part = name.substr(0, name.find('/'));
    name.remove_prefix(std::min(name.size(), part.size() + 1));
    WEIR_CHECK(!part.empty() && part != "." && part != ".." && part != "-");
    for (const char c : part) WEIR_CHECK(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
  }
}

}  // namespace

// Input: method byte, target, newline, Git-Protocol.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  weir::http::RequestHead head;
  head.method = static_cast<weir::http::Method>(data[0] % 8);
  head.storage.assign(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::string_view text = head.storage;
  head.target = text.substr(0, text.find('\n'));
  const std::size_t question = head.target.find('?');
  head.path = head.target.substr(0, question);
  if (question != std::string_view::npos) head.query = head.target.substr(question + 1);
  if (head.target.size() < text.size()) {
    head.fields.push_back({"git-protocol", text.substr(head.target.size() + 1)});
  }
  const weir::server::Route route = weir::server::classify(head);
  using weir::server::RouteKind;
  const bool named = route.kind != RouteKind::not_found && route.kind != RouteKind::bad_path &&
                     route.kind != RouteKind::reserved;
  WEIR_CHECK(named == !route.tenant.empty());
  if (named) {
    check_name(route.tenant);
    check_name(route.path);
    WEIR_CHECK(route.tenant.find('/') == std::string::npos);
  }
  WEIR_CHECK((route.kind == RouteKind::bad_path) == !route.problem.empty());
  WEIR_CHECK((route.kind == RouteKind::wrong_method) == !route.allow.empty());
  WEIR_CHECK(route.git_protocol.size() <= 256);
  return 0;
}

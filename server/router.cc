#include "server/router.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "http/http1_chars.h"

namespace weir::server {
namespace {

constexpr std::size_t kSegmentsMax = 32;  // deeper than any hosting layout; bounds the locator
constexpr std::size_t kSegmentsUsual = 8;
constexpr std::size_t kSegmentBytesMax = 255;  // NAME_MAX
constexpr std::size_t kGitProtocolBytesMax = 256;

using Segments = std::vector<std::string>;

bool is_control(char c) {
  return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
}

// One pass: what an escape stands for is never decoded again.
bool percent_decode(std::string_view text, std::string& out) {
  if (text.find('%') == text.npos) {
    out = text;
    return true;
  }
  out.clear();
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    if (i + 2 >= text.size()) return false;
    const int high = http::hex_digit(text[i + 1]), low = http::hex_digit(text[i + 2]);
    if (high < 0 || low < 0) return false;
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return true;
}

// "" or what is wrong with the path. Empty segments are dropped ("//" collapses).
std::string_view split_path(std::string_view path, Segments& segments) {
  if (path.empty() || path[0] != '/') return "the path does not begin with '/'";
  while (!path.empty()) {
    path.remove_prefix(1);
    const std::string_view raw = path.substr(0, path.find('/'));
    path.remove_prefix(raw.size());
    if (raw.empty()) continue;
    if (segments.size() == kSegmentsMax) return "the path has too many parts";
    std::string segment;
    if (!percent_decode(raw, segment)) return "the path has a malformed percent escape";
    if (segment == "." || segment == "..") return "the path has a '.' or '..' part";
    if (segment.find('/') != std::string::npos) return "the path has an escaped '/'";
    if (std::ranges::any_of(segment, is_control)) return "the path has a control character";
    if (segment.size() > kSegmentBytesMax) return "a part of the path is too long";
    segments.push_back(std::move(segment));
  }
  return "";
}

std::optional<git::Service> service_of(std::string_view name) {
  for (const git::Service service : {git::Service::upload_pack, git::Service::receive_pack}) {
    if (name == service_name(service)) return service;
  }
  return std::nullopt;
}

// Value of the last `service` parameter, as git http-backend reads it; nullopt: none.
std::optional<std::string> service_parameter(std::string_view query) {
  std::optional<std::string> found;
  while (!query.empty()) {
    const std::string_view parameter = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), parameter.size() + 1));
    if (!parameter.starts_with("service=")) continue;
    std::string value;
    if (!percent_decode(parameter.substr(8), value)) value = "%";  // no service has this name
    found = std::move(value);
  }
  return found;
}

// A client whose base URL has a query appends to it: "/t/a.git?x=1/info/refs&service=...". Returns
// the part that belongs to the path, and takes it out of `query`.
std::string_view path_in_query(std::string_view& query) {
  static constexpr std::string_view kRefs = "/info/refs";
  const std::size_t refs = query.rfind(kRefs);
  if (refs != std::string_view::npos) {
    const std::string_view rest = query.substr(refs + kRefs.size());
    if (rest.empty() || rest[0] == '&') {
      const std::string_view found = query.substr(refs, kRefs.size());
      query = rest;
      return found;
    }
  }
  const std::size_t slash = query.rfind('/');
  if (slash == std::string_view::npos || !service_of(query.substr(slash + 1))) return "";
  return query.substr(slash);
}

struct Shape {
  RouteKind kind = RouteKind::not_found;
  std::size_t repository_end = 0;  // segments before it name the repository
  git::Service service = git::Service::upload_pack;
};

bool is_object_path(const Segments& segments, std::size_t objects) {
  const std::string& next = segments[objects + 1];
  return next == "info" || next == "pack" ||
         (next.size() == 2 && http::hex_digit(next[0]) >= 0 && http::hex_digit(next[1]) >= 0);
}

// What the end of the path asks for; a tenant and one more segment come before it.
Shape shape_of(const Segments& segments) {
  const std::size_t count = segments.size();
  if (count >= 3) {
    const std::string& last = segments[count - 1];
    if (const auto service = service_of(last)) return {RouteKind::git_service, count - 1, *service};
    if (last == "git-upload-archive") return {RouteKind::unknown_service, count - 1};
  }
  if (count >= 4 && segments[count - 2] == "info" && segments[count - 1] == "refs") {
    return {RouteKind::git_info_refs, count - 2};
  }
  for (std::size_t i = count; i-- > 2;) {
    const bool last = i + 1 == count;
    if (last && segments[i] == "HEAD") return {RouteKind::git_dumb, i};
    if (last) continue;
    if (segments[i] == "info" && segments[i + 1] == "lfs") return {RouteKind::git_lfs, i};
    if (segments[i] == "objects" && is_object_path(segments, i)) return {RouteKind::git_dumb, i};
  }
  return {};
}

bool harmless(std::string_view value) {
  return value.size() <= kGitProtocolBytesMax && std::ranges::all_of(value, [](char c) {
           return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                  c == ':' || c == '=' || c == '.' || c == '_' || c == '-';
         });
}

// The highest version named, as git chooses it; unknown keys and versions count for nothing.
int protocol_version(std::string_view git_protocol) {
  int version = 0;
  while (!git_protocol.empty()) {
    const std::string_view entry = git_protocol.substr(0, git_protocol.find(':'));
    git_protocol.remove_prefix(std::min(git_protocol.size(), entry.size() + 1));
    if (entry == "version=1") version = std::max(version, 1);
    if (entry == "version=2") version = 2;
  }
  return version;
}

Route wrong_method(Route route, std::string_view allow) {
  route.kind = RouteKind::wrong_method;
  route.allow = allow;
  return route;
}

}  // namespace

Route classify(const http::RequestHead& head) {
  Route route;
  Segments segments;
  segments.reserve(kSegmentsUsual);
  std::string_view query = head.query;
  route.problem = split_path(head.path, segments);
  if (!route.problem.empty()) {
    route.kind = RouteKind::bad_path;
    return route;
  }
  // The reserved part is anywhere, so that later pages of a repository have a place of their own.
  if (std::ranges::find(segments, "-") != segments.end()) {
    route.kind = RouteKind::reserved;
    return route;
  }
  Shape shape = shape_of(segments);
  if (shape.kind == RouteKind::not_found) {
    const std::string_view more = path_in_query(query);
    if (!more.empty() && split_path(more, segments).empty()) shape = shape_of(segments);
  }
  if (shape.kind == RouteKind::not_found) return route;

  route.kind = shape.kind;
  route.service = shape.service;
  route.tenant = segments[0];
  for (std::size_t i = 1; i < shape.repository_end; ++i) {
    if (i > 1) route.path += '/';
    route.path += segments[i];
  }

  using http::Method;
  if (route.kind == RouteKind::git_info_refs) {
    const auto asked = service_parameter(query);
    if (!asked) {
      route.kind = RouteKind::git_dumb;
    } else if (const auto service = service_of(*asked)) {
      route.service = *service;
    } else {
      route.kind = RouteKind::unknown_service;
    }
  }
  switch (route.kind) {
    case RouteKind::git_info_refs:
      if (head.method != Method::get) return wrong_method(std::move(route), "GET");
      break;
    case RouteKind::git_service:
      if (head.method != Method::post) return wrong_method(std::move(route), "POST");
      break;
    case RouteKind::git_dumb:
      if (head.method != Method::get && head.method != Method::head) {
        return wrong_method(std::move(route), "GET, HEAD");
      }
      break;
    default:
      break;
  }
  // A push is always spoken in version 0: the field is dropped, so that no child answers otherwise.
  const auto git_protocol = head.field("git-protocol");
  if (git_protocol && route.service == git::Service::upload_pack && harmless(*git_protocol)) {
    route.git_protocol = *git_protocol;
    route.protocol_version = protocol_version(*git_protocol);
  }
  return route;
}

}  // namespace weir::server

#pragma once
// Router: what a request asks for, from method, path, query and a few fields alone (the classify
// stage). Pure; no file system. Paths are percent-decoded once; "//" collapses; "..", ".", control
// bytes, NUL, bad escapes, "/-/" (reserved) and empty names never reach the file system. Source of
// the shapes: gitprotocol-http(5); LFS: its API's "batch" and "locks" paths.

#include <cstdint>
#include <string>
#include <string_view>

#include "git/ref_snapshot.h"
#include "http/message.h"

namespace weir::server {

enum class RouteKind : std::uint8_t {
  git_info_refs,    // GET .../info/refs?service=git-upload-pack|git-receive-pack
  git_service,      // POST .../git-upload-pack | git-receive-pack
  git_dumb,         // info/refs without service, /HEAD, /objects/...: 403 with a text
  git_lfs,          // .../info/lfs/...: 404 with LFS's JSON
  unknown_service,  // a service that is not offered: 403
  wrong_method,     // 405 with Allow
  bad_path,         // 400: the text says what is wrong
  reserved,         // /-/...: 404
  not_found,        // nothing of ours
};

struct Route {
  RouteKind kind = RouteKind::not_found;
  git::Service service = git::Service::upload_pack;
  int protocol_version = 0;  // from Git-Protocol (upload-pack only); unknown keys are ignored
  std::string git_protocol;  // the field's value if harmless ([A-Za-z0-9:=._-], <= 256), else ""
  std::string tenant;        // decoded
  std::string path;          // decoded, below the tenant, as asked for ("tools/site.git")
  std::string_view allow;    // wrong_method: value of Allow
  std::string_view problem;  // bad_path: static text
};

Route classify(const http::RequestHead& head);

}  // namespace weir::server

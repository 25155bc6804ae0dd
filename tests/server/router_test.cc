#include "server/router.h"

#include <gtest/gtest.h>

#include <ostream>

namespace weir::server {
namespace {

using git::Service;
using http::Method;

// Sets the views of `head` into `target`, as a parser would.
void fill(http::RequestHead& head, std::string_view target, Method method) {
  head.method = method;
  head.storage = target;
  head.target = head.storage;
  const std::size_t question = head.target.find('?');
  head.path = head.target.substr(0, question);
  if (question != std::string_view::npos) head.query = head.target.substr(question + 1);
}

Route route_of(std::string_view target, Method method = Method::get) {
  http::RequestHead head;
  fill(head, target, method);
  return classify(head);
}

struct Accepted {
  Method method;
  std::string target;
  RouteKind kind;
  Service service;
  std::string tenant;
  std::string path;
};

TEST(Router, accepts_smart_requests) {
  constexpr auto kUpload = Service::upload_pack, kReceive = Service::receive_pack;
  constexpr auto kRefs = RouteKind::git_info_refs, kService = RouteKind::git_service;
  const Accepted table[] = {
      {Method::get, "/t/a.git/info/refs?service=git-upload-pack", kRefs, kUpload, "t", "a.git"},
      {Method::get, "/t/a/info/refs?service=git-receive-pack", kRefs, kReceive, "t", "a"},
      {Method::post, "/t/a.git/git-upload-pack", kService, kUpload, "t", "a.git"},
      {Method::post, "/t/a.git/git-receive-pack", kService, kReceive, "t", "a.git"},
      {Method::post, "/t/x/y/z.git/git-upload-pack", kService, kUpload, "t", "x/y/z.git"},
      {Method::post, "//t///a.git//git-upload-pack", kService, kUpload, "t", "a.git"},
      {Method::post, "/t/a.git/git-upload-pack/", kService, kUpload, "t", "a.git"},
      {Method::post, "/t/a%20b.git/git-upload-pack", kService, kUpload, "t", "a b.git"},
      {Method::post, "/%74/%61.git/git-upload-pack", kService, kUpload, "t", "a.git"},
      {Method::post, "/t/a%252e%252e/git-upload-pack", kService, kUpload, "t", "a%2e%2e"},
      {Method::post, "/t/%C3%A9.git/git-upload-pack", kService, kUpload, "t", "\xc3\xa9.git"},
      {Method::post, "/t/a+b/git-upload-pack", kService, kUpload, "t", "a+b"},
      {Method::post, "/t/a.git/git%2Dupload-pack", kService, kUpload, "t", "a.git"},
      {Method::post, "/t/...git/git-upload-pack", kService, kUpload, "t", "...git"},
      {Method::post, "/t/info/git-upload-pack", kService, kUpload, "t", "info"},
      {Method::post, "/t/git-upload-pack/git-upload-pack", kService, kUpload, "t",
       "git-upload-pack"},
      {Method::post, "/t/a.git/git-upload-pack?x=1", kService, kUpload, "t", "a.git"},
      {Method::get, "/t/a/info/refs?x=1&service=git-upload-pack", kRefs, kUpload, "t", "a"},
      {Method::get, "/t/a/info/refs?service=git-upload-pack&x=1", kRefs, kUpload, "t", "a"},
      {Method::get, "/t/a/info/refs?service=git%2Dupload%2dpack", kRefs, kUpload, "t", "a"},
      {Method::get, "/t/a/info/refs?service=x&service=git-receive-pack", kRefs, kReceive, "t", "a"},
      {Method::get, "/t/a/info/refs?&&service=git-upload-pack&", kRefs, kUpload, "t", "a"},
      // base URLs that end in a query of their own
      {Method::get, "/t/a.git?k=v/info/refs&service=git-upload-pack", kRefs, kUpload, "t", "a.git"},
      {Method::post, "/t/a.git?k=v/git-receive-pack", kService, kReceive, "t", "a.git"},
      {Method::post, "/t/x/a.git?k=a/b/git-upload-pack", kService, kUpload, "t", "x/a.git"},
      {Method::get, "/t/info/refs/info/refs?service=git-upload-pack", kRefs, kUpload, "t",
       "info/refs"},
      {Method::get, "/t/x/info/lfs/info/refs?service=git-upload-pack", kRefs, kUpload, "t",
       "x/info/lfs"},
  };
  for (const Accepted& row : table) {
    const Route route = route_of(row.target, row.method);
    EXPECT_EQ(route.kind, row.kind) << row.target << " " << route.problem;
    EXPECT_EQ(route.service, row.service) << row.target;
    EXPECT_EQ(route.tenant, row.tenant) << row.target;
    EXPECT_EQ(route.path, row.path) << row.target;
  }
}

TEST(Router, refuses_paths_that_must_not_reach_the_file_system) {
  const std::string deep = [] {
    std::string text = "/t";
    for (int i = 0; i < 40; ++i) text += "/x";
    return text + "/git-upload-pack";
  }();
  const std::string table[] = {
      "",
      "*",
      "t/a/git-upload-pack",
      "?service=git-upload-pack",
      "/t/../a/git-upload-pack",
      "/../t/a/git-upload-pack",
      "/t/a/../../git-upload-pack",
      "/t/./a/git-upload-pack",
      "/t/a/..",
      "/..",
      "/t/%2e%2e/a/git-upload-pack",
      "/t/%2E./a/git-upload-pack",
      "/t/.%2e/a/git-upload-pack",
      "/t/%2e/a/git-upload-pack",
      "/t/a%2Fb/git-upload-pack",
      "/t/a%2fb/git-upload-pack",
      "/t%2Fa/git-upload-pack",
      "/t/%2F/git-upload-pack",
      "/t/..%2F..%2Fetc/git-upload-pack",
      "/t/a%2fgit-upload-pack",
      "/t/a%00.git/git-upload-pack",
      "/t/a%0a/git-upload-pack",
      "/t/a%0D%0A/git-upload-pack",
      "/t/a%1f/git-upload-pack",
      "/t/a%7F/git-upload-pack",
      "/t/a%09/git-upload-pack",
      std::string("/t/a\x01/git-upload-pack"),
      std::string("/t/a\x7f/git-upload-pack"),
      std::string("/t/a\0b/git-upload-pack", 22),
      "/t/a%/git-upload-pack",
      "/t/a%2/git-upload-pack",
      "/t/a%zz/git-upload-pack",
      "/t/a%2g/git-upload-pack",
      "/t/a%%20/git-upload-pack",
      "/t/a% 20/git-upload-pack",
      "/t/a%-1/git-upload-pack",
      "/t/a/git-upload-pack%",
      "/t/" + std::string(256, 'n') + "/git-upload-pack",
      deep,
  };
  for (const std::string& target : table) {
    for (const Method method : {Method::get, Method::post, Method::head}) {
      const Route route = route_of(target, method);
      EXPECT_EQ(route.kind, RouteKind::bad_path) << target;
      EXPECT_FALSE(route.problem.empty()) << target;
      EXPECT_EQ(route.tenant + route.path, "") << target;
    }
  }
}

struct Kind {
  Method method;
  std::string target;
  RouteKind kind;
};

TEST(Router, tells_what_is_not_a_smart_request) {
  const Kind table[] = {
      {Method::get, "/", RouteKind::not_found},
      {Method::get, "/t", RouteKind::not_found},
      {Method::get, "/t/a.git", RouteKind::not_found},
      {Method::get, "/t/a.git/", RouteKind::not_found},
      {Method::get, "/info/refs?service=git-upload-pack", RouteKind::not_found},
      {Method::get, "/t/info/refs?service=git-upload-pack", RouteKind::not_found},
      {Method::get, "//t//info/refs?service=git-upload-pack", RouteKind::not_found},
      {Method::post, "/git-upload-pack", RouteKind::not_found},
      {Method::post, "/t/git-upload-pack", RouteKind::not_found},
      {Method::post, "/t/a.git/git-upload-packs", RouteKind::not_found},
      {Method::post, "/t/a.git/GIT-UPLOAD-PACK", RouteKind::not_found},
      {Method::post, "/t/a.git/git-upload-pack/x", RouteKind::not_found},
      {Method::post, "/t?k=v/git-upload-pack", RouteKind::not_found},
      {Method::get, "/t/a.git?k=v/info/refsx", RouteKind::not_found},
      {Method::get, "/t/HEAD", RouteKind::not_found},
      {Method::get, "/t/a.git/objects", RouteKind::not_found},
      {Method::get, "/t/a.git/objects/xyz/1", RouteKind::not_found},
      {Method::get, "/favicon.ico", RouteKind::not_found},
      {Method::get, "/-/", RouteKind::reserved},
      {Method::get, "/-", RouteKind::reserved},
      {Method::get, "/%2d/metrics", RouteKind::reserved},
      {Method::post, "/-/t/a.git/git-upload-pack", RouteKind::reserved},
      {Method::get, "/t/a/-/tree", RouteKind::reserved},
      {Method::post, "/t/-/git-upload-pack", RouteKind::reserved},
      {Method::get, "/t/a.git/info/refs", RouteKind::git_dumb},
      {Method::get, "/t/a.git/info/refs?x=1", RouteKind::git_dumb},
      {Method::get, "/t/a.git/info/refs?xservice=git-upload-pack", RouteKind::git_dumb},
      {Method::get, "/t/a.git/info/refs?Service=git-upload-pack", RouteKind::git_dumb},
      {Method::head, "/t/a.git/info/refs", RouteKind::git_dumb},
      {Method::get, "/t/a.git/HEAD", RouteKind::git_dumb},
      {Method::head, "/t/a.git/HEAD", RouteKind::git_dumb},
      {Method::get, "/t/a.git/objects/info/packs", RouteKind::git_dumb},
      {Method::get, "/t/a.git/objects/info/alternates", RouteKind::git_dumb},
      {Method::get, "/t/a.git/objects/pack/pack-1.idx", RouteKind::git_dumb},
      {Method::get, "/t/a.git/objects/ab/cdef", RouteKind::git_dumb},
      {Method::get, "/t/a.git/info/refs?service=", RouteKind::unknown_service},
      {Method::get, "/t/a.git/info/refs?service", RouteKind::git_dumb},
      {Method::get, "/t/a.git/info/refs?service=git-upload-archive", RouteKind::unknown_service},
      {Method::get, "/t/a.git/info/refs?service=upload-pack", RouteKind::unknown_service},
      {Method::get, "/t/a.git/info/refs?service=git-upload-pack%", RouteKind::unknown_service},
      {Method::get, "/t/a.git/info/refs?service=git-upload-pack%00", RouteKind::unknown_service},
      {Method::get, "/t/a/info/refs?service=git-upload-pack&service=x", RouteKind::unknown_service},
      {Method::post, "/t/a.git/git-upload-archive", RouteKind::unknown_service},
      {Method::post, "/t/a.git/info/lfs/objects/batch", RouteKind::git_lfs},
      {Method::get, "/t/a.git/info/lfs/locks", RouteKind::git_lfs},
      {Method::post, "/t/a.git/info/lfs/locks/verify", RouteKind::git_lfs},
      {Method::post, "/t/a.git/info/lfs/locks/7/unlock", RouteKind::git_lfs},
      {Method::put, "/t/a.git/info/lfs/objects/0123", RouteKind::git_lfs},
      {Method::get, "/t/a.git/info/lfs", RouteKind::git_lfs},
  };
  for (const Kind& row : table) {
    EXPECT_EQ(route_of(row.target, row.method).kind, row.kind) << row.target;
  }
}

TEST(Router, names_the_repository_of_refused_services_too) {
  EXPECT_EQ(route_of("/t/x/a.git/info/lfs/objects/batch", Method::post).path, "x/a.git");
  EXPECT_EQ(route_of("/t/x/a.git/HEAD").path, "x/a.git");
  EXPECT_EQ(route_of("/t/x/a.git/objects/info/packs").path, "x/a.git");
  EXPECT_EQ(route_of("/t/x/a.git/git-upload-archive", Method::post).path, "x/a.git");
}

TEST(Router, answers_wrong_methods_with_those_allowed) {
  const struct {
    std::string target;
    std::string_view allow;
    std::vector<Method> refused;
  } table[] = {
      {"/t/a.git/info/refs?service=git-upload-pack",
       "GET",
       {Method::head, Method::post, Method::put, Method::delete_, Method::options, Method::other}},
      {"/t/a.git/git-upload-pack",
       "POST",
       {Method::get, Method::head, Method::put, Method::patch, Method::options, Method::other}},
      {"/t/a.git/git-receive-pack", "POST", {Method::get, Method::head, Method::put}},
      {"/t/a.git/info/refs", "GET, HEAD", {Method::post, Method::put}},
      {"/t/a.git/HEAD", "GET, HEAD", {Method::post, Method::delete_}},
  };
  for (const auto& row : table) {
    for (const Method method : row.refused) {
      const Route route = route_of(row.target, method);
      EXPECT_EQ(route.kind, RouteKind::wrong_method) << row.target;
      EXPECT_EQ(route.allow, row.allow) << row.target;
    }
  }
}

Route with_git_protocol(std::string_view value, std::string_view service = "git-upload-pack") {
  http::RequestHead head;
  const std::string target = "/t/a.git/info/refs?service=" + std::string(service);
  fill(head, target, Method::get);
  head.fields.push_back({"Git-Protocol", value});
  return classify(head);
}

TEST(Router, reads_the_protocol_version) {
  const struct {
    std::string_view value;
    int version;
  } table[] = {
      {"version=2", 2},
      {"version=1", 1},
      {"version=0", 0},
      {"version=1:version=2", 2},
      {"version=2:version=1", 2},
      {"version=3", 0},
      {"version=3:version=2", 2},
      {"hello=world:version=2", 2},
      {"version=2:object-format=sha256", 2},
      {"version=22", 0},
      {"version=", 0},
      {"version", 0},
      {"VERSION=2", 0},
      {":::version=2:", 2},
      {"", 0},
      {"xversion=2", 0},
  };
  for (const auto& row : table) {
    const Route route = with_git_protocol(row.value);
    EXPECT_EQ(route.protocol_version, row.version) << row.value;
    EXPECT_EQ(route.git_protocol, row.value);
  }
  EXPECT_EQ(route_of("/t/a.git/git-upload-pack", Method::post).protocol_version, 0);
}

TEST(Router, drops_a_hostile_protocol_field) {
  const std::string long_value = "version=2:" + std::string(250, 'x');
  const std::string with_nul("version=2\0", 10);
  for (const std::string_view value :
       {std::string_view("version=2;id"), std::string_view("version=2 "),
        std::string_view("version=2\n"), std::string_view("$(id):version=2"),
        std::string_view("version=2:a/b"), std::string_view("version=2,version=1"),
        std::string_view("version=2:\xff"), std::string_view("version=2'"),
        std::string_view(long_value), std::string_view(with_nul)}) {
    const Route route = with_git_protocol(value);
    EXPECT_EQ(route.kind, RouteKind::git_info_refs);
    EXPECT_EQ(route.git_protocol, "") << value;
    EXPECT_EQ(route.protocol_version, 0) << value;
  }
}

TEST(Router, speaks_version_0_to_pushes) {
  const Route route = with_git_protocol("version=2", "git-receive-pack");
  EXPECT_EQ(route.protocol_version, 0);
  EXPECT_EQ(route.git_protocol, "");
}

}  // namespace
}  // namespace weir::server

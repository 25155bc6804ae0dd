#include "io/launcher_protocol.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <functional>

namespace weir::io {
namespace {

using Bytes = std::vector<std::uint8_t>;

SpawnRequest good_spawn() {
  SpawnRequest request;
  request.id = 0x1122334455667788;
  request.spec.argv = {"/usr/bin/git", "upload-pack", "", "--stateless-rpc"};
  request.spec.env = {"LC_ALL=C", "EMPTY="};
  request.spec.working_directory = "/srv/git";
  request.spec.rights = ChildRights::read_write;
  request.spec.write_paths = {"/srv/git/a.git", "/srv/git/a"};
  request.spec.nice = 7;
  request.spec.cpu_s_max = 60;
  request.spec.data_bytes_max = 1ULL << 40;
  request.spec.file_bytes_max = 3;
  request.spec.files_max = 64;
  request.spec.merge_stderr = true;
  request.spec.may_finish = true;
  request.spec.channel = true;
  return request;
}

TEST(LauncherProtocol, a_spawn_request_comes_back_as_it_was_sent) {
  const SpawnRequest sent = good_spawn();
  const Result<LauncherRequest> got = decode_request(*encode(LauncherRequest(sent)));
  ASSERT_TRUE(got.has_value());
  const auto& spawn = std::get<SpawnRequest>(*got);
  EXPECT_EQ(spawn.id, sent.id);
  EXPECT_EQ(spawn.spec.argv, sent.spec.argv);
  EXPECT_EQ(spawn.spec.env, sent.spec.env);
  EXPECT_EQ(spawn.spec.working_directory, sent.spec.working_directory);
  EXPECT_EQ(spawn.spec.rights, ChildRights::read_write);
  EXPECT_EQ(spawn.spec.write_paths, sent.spec.write_paths);
  EXPECT_EQ(spawn.spec.nice, 7);
  EXPECT_EQ(spawn.spec.cpu_s_max, 60U);
  EXPECT_EQ(spawn.spec.data_bytes_max, 1ULL << 40);
  EXPECT_EQ(spawn.spec.file_bytes_max, 3U);
  EXPECT_EQ(spawn.spec.files_max, 64U);
  EXPECT_TRUE(spawn.spec.merge_stderr);
  EXPECT_TRUE(spawn.spec.may_finish);
  EXPECT_EQ(spawn.descriptor_count(), 3U);  // 0, 1, channel
}

TEST(LauncherProtocol, the_other_messages_come_back_as_they_were_sent) {
  const auto finish = decode_request(*encode(LauncherRequest(FinishRequest{5})));
  EXPECT_EQ(std::get<FinishRequest>(*finish).id, 5U);
  const auto let_go = decode_request(*encode(LauncherRequest(LetGoRequest{6})));
  EXPECT_EQ(std::get<LetGoRequest>(*let_go).id, 6U);
  const auto kill = decode_request(*encode(LauncherRequest(KillRequest{7, 15})));
  EXPECT_EQ(std::get<KillRequest>(*kill).signal, 15);
  const auto spawned = decode_reply(encode(LauncherReply(SpawnedReply{8, 4321, 99})));
  EXPECT_EQ(std::get<SpawnedReply>(*spawned).pid, 4321);
  EXPECT_EQ(std::get<SpawnedReply>(*spawned).start_ticks, 99U);
  const auto failed = decode_reply(encode(LauncherReply(SpawnFailedReply{9, ENOENT, "execve"})));
  EXPECT_EQ(std::get<SpawnFailedReply>(*failed).sys_errno, ENOENT);
  EXPECT_EQ(std::get<SpawnFailedReply>(*failed).step, "execve");
  const ExitStatus status{.code = 137, .signalled = true, .cpu_us = 12, .rss_bytes_max = 4096};
  const auto exited = decode_reply(encode(LauncherReply(ExitedReply{10, status})));
  EXPECT_EQ(std::get<ExitedReply>(*exited).status.code, 137);
  EXPECT_TRUE(std::get<ExitedReply>(*exited).status.signalled);
  EXPECT_EQ(std::get<ExitedReply>(*exited).status.rss_bytes_max, 4096U);
}

TEST(LauncherProtocol, refuses_every_cut_and_every_extension_of_a_message) {
  const Bytes request = *encode(LauncherRequest(good_spawn()));
  for (std::size_t length = 0; length < request.size(); ++length) {
    EXPECT_FALSE(decode_request(std::span(request).first(length)).has_value()) << length;
  }
  const Bytes reply = encode(LauncherReply(ExitedReply{10, {}}));
  for (std::size_t length = 0; length < reply.size(); ++length) {
    EXPECT_FALSE(decode_reply(std::span(reply).first(length)).has_value()) << length;
  }
  Bytes longer = request;
  longer.push_back(0);
  EXPECT_FALSE(decode_request(longer).has_value());
  longer = reply;
  longer.push_back(0);
  EXPECT_FALSE(decode_reply(longer).has_value());
}

TEST(LauncherProtocol, refuses_specs_that_no_child_may_have) {
  const std::function<void(SubprocessSpec&)> kBreaks[] = {
      [](SubprocessSpec& s) { s.argv.clear(); },
      [](SubprocessSpec& s) { s.argv[0] = ""; },
      [](SubprocessSpec& s) { s.argv[0] = "git"; },
      [](SubprocessSpec& s) { s.argv[0] = "./git"; },
      [](SubprocessSpec& s) { s.argv[1] = std::string("a\0b", 3); },
      [](SubprocessSpec& s) { s.argv.assign(kLauncherStringsMax + 1, "/x"); },
      [](SubprocessSpec& s) { s.env.assign(kLauncherStringsMax + 1, "A=1"); },
      [](SubprocessSpec& s) { s.env[0] = "NOEQUALS"; },
      [](SubprocessSpec& s) { s.env[0] = "=value"; },
      [](SubprocessSpec& s) { s.env[0] = std::string("A=\0", 3); },
      [](SubprocessSpec& s) { s.env[0] = ""; },
      [](SubprocessSpec& s) { s.working_directory = "relative"; },
      [](SubprocessSpec& s) { s.working_directory = std::string("/\0", 2); },
      [](SubprocessSpec& s) { s.rights = ChildRights::read_only; },  // and has folders to write
      [](SubprocessSpec& s) { s.write_paths[0] = "relative"; },
      [](SubprocessSpec& s) { s.write_paths[1] = ""; },
      [](SubprocessSpec& s) { s.write_paths[1] = std::string("/a\0", 3); },
      [](SubprocessSpec& s) { s.write_paths.assign(kLauncherStringsMax + 1, "/x"); },
      [](SubprocessSpec& s) { s.nice = -1; },
      [](SubprocessSpec& s) { s.nice = 20; },
      [](SubprocessSpec& s) { s.files_max = 0; },
      [](SubprocessSpec& s) { s.files_max = 15; },
      [](SubprocessSpec& s) { s.files_max = kChildFilesMax + 1; },
      [](SubprocessSpec& s) { s.argv.emplace_back(kLauncherMessageBytesMax, 'x'); },
  };
  for (std::size_t i = 0; i < std::size(kBreaks); ++i) {
    SpawnRequest request = good_spawn();
    kBreaks[i](request.spec);
    EXPECT_FALSE(encode(LauncherRequest(request)).has_value()) << i;
  }
}

TEST(LauncherProtocol, refuses_hostile_bytes) {
  const Bytes good = *encode(LauncherRequest(good_spawn()));
  // Each 64-bit field in turn (the strings stand between them) becomes enormous.
  for (std::size_t at = 1; at + 8 <= good.size(); ++at) {
    Bytes bad = good;
    for (std::size_t i = 0; i < 8; ++i) bad[at + i] = 0xff;
    const Result<LauncherRequest> got = decode_request(bad);  // must only not crash or allocate
    if (got) EXPECT_LE(std::get<SpawnRequest>(*got).spec.argv.size(), kLauncherStringsMax);
  }
  for (int kind = 0; kind < 256; ++kind) {
    const Bytes only_kind = {static_cast<std::uint8_t>(kind)};
    EXPECT_FALSE(decode_request(only_kind).has_value());
    EXPECT_FALSE(decode_reply(only_kind).has_value());
  }
  const Bytes kRefused[] = {
      encode(LauncherReply(SpawnedReply{1, 0, 0})),   // pid 0 would be our own group
      encode(LauncherReply(SpawnedReply{1, -5, 0})),  // a negative one another's
      encode(LauncherReply(SpawnFailedReply{1, -1, ""})),
      encode(LauncherReply(ExitedReply{1, {.code = 256}})),
      encode(LauncherReply(ExitedReply{1, {.code = -1}})),
  };
  for (const Bytes& bytes : kRefused) EXPECT_FALSE(decode_reply(bytes).has_value());
  for (const int signal : {0, -9, 65}) {
    EXPECT_FALSE(decode_request(*encode(LauncherRequest(KillRequest{1, signal}))).has_value());
  }
  EXPECT_FALSE(decode_request(encode(LauncherReply(SpawnedReply{1, 2, 3}))).has_value());
  EXPECT_FALSE(decode_reply(good).has_value());
}

}  // namespace
}  // namespace weir::io

#include "git/worker_protocol.h"

#include <gtest/gtest.h>

namespace weir::git {
namespace {

std::string body_of(const std::string& frame) {
  EXPECT_EQ(frame_body_bytes(frame.substr(0, kFrameHeaderBytes)), frame.size() - kFrameHeaderBytes);
  return frame.substr(kFrameHeaderBytes);
}

WorkerRequest sample_request() {
  WorkerRequest request;
  request.operation = WorkerOperation::check_wants;
  request.git_dir = "/a";
  request.common_dir = "/b";
  request.format = ObjectFormat::sha256;
  request.time_ms_max = 77;
  request.ids = {*ObjectId::from_hex(std::string(40, 'a')), {}};
  request.tips_digest = "digest";
  request.has_tips = true;
  request.tips = {*ObjectId::from_hex(std::string(64, 'b'))};
  request.allow_trees_and_blobs = true;
  return request;
}

WorkerReply sample_reply() {
  WorkerReply reply;
  reply.status = WorkerStatus::corrupt;
  reply.problem = "line 3";
  reply.config.sha256 = true;
  reply.config.hide_refs_fetch = {"refs/pull", "!refs/pull/1"};
  reply.config.files = {"/a/config"};
  reply.ids = {*ObjectId::from_hex(std::string(40, 'c'))};
  reply.refs.head.target = "refs/heads/main";
  reply.refs.refs = {{"refs/heads/main", *ObjectId::from_hex(std::string(40, 'd')), ""}};
  return reply;
}

TEST(WorkerProtocol, carries_requests_and_replies_whole) {
  WorkerRequest request;
  ASSERT_TRUE(decode(body_of(encode_frame(sample_request())), request));
  EXPECT_EQ(encode_frame(request), encode_frame(sample_request()));
  EXPECT_EQ(request.ids, sample_request().ids);
  EXPECT_EQ(request.tips, sample_request().tips);
  WorkerReply reply;
  ASSERT_TRUE(decode(body_of(encode_frame(sample_reply())), reply));
  EXPECT_EQ(encode_frame(reply), encode_frame(sample_reply()));
  EXPECT_EQ(reply.config.hide_refs_fetch, sample_reply().config.hide_refs_fetch);
  EXPECT_EQ(reply.refs.refs[0].id, sample_reply().refs.refs[0].id);
}

TEST(WorkerProtocol, refuses_every_truncation_and_every_surplus) {
  const std::string request = body_of(encode_frame(sample_request()));
  const std::string reply = body_of(encode_frame(sample_reply()));
  WorkerRequest into_request;
  WorkerReply into_reply;
  for (std::size_t bytes = 0; bytes < request.size(); ++bytes) {
    EXPECT_FALSE(decode(request.substr(0, bytes), into_request)) << bytes;
  }
  for (std::size_t bytes = 0; bytes < reply.size(); ++bytes) {
    EXPECT_FALSE(decode(reply.substr(0, bytes), into_reply)) << bytes;
  }
  EXPECT_FALSE(decode(request + "x", into_request));
  EXPECT_FALSE(decode(reply + "x", into_reply));
}

TEST(WorkerProtocol, refuses_values_out_of_range) {
  const std::string request = body_of(encode_frame(WorkerRequest{}));
  WorkerRequest into;
  ASSERT_TRUE(decode(request, into));
  // operation, two empty strings, format, time, ids, digest, has_tips, tips, flag
  const std::size_t operation = 0, git_dir = 1, format = 9, ids = 14, has_tips = 22;
  const auto with = [&](std::size_t at, const std::string& bytes) {
    std::string changed = request;
    changed.replace(at, bytes.size(), bytes);
    return changed;
  };
  EXPECT_FALSE(decode(with(operation, "\x04"), into));
  EXPECT_FALSE(decode(with(format, "\x02"), into));
  EXPECT_FALSE(decode(with(has_tips, "\x02"), into));
  EXPECT_FALSE(decode(with(git_dir, "\xff\xff\xff\xff"), into));
  EXPECT_FALSE(decode(with(ids, "\xff\xff\xff\x0f"), into));  // allocates nothing
  WorkerRequest one;
  one.ids.resize(1);
  std::string bad_id = body_of(encode_frame(one));
  bad_id[ids + 4] = 19;
  EXPECT_FALSE(decode(bad_id + std::string(19, 'x'), into));
}

TEST(WorkerProtocol, bounds_frames) {
  EXPECT_EQ(frame_body_bytes(std::string("\x05\0\0\0", 4)), 5U);
  EXPECT_EQ(frame_body_bytes(std::string("\0\0\0\x10", 4)), kWorkerFrameBytesMax);
  EXPECT_FALSE(frame_body_bytes(std::string("\1\0\0\x10", 4)));
  EXPECT_FALSE(frame_body_bytes("\xff\xff\xff\xff"));
}

}  // namespace
}  // namespace weir::git

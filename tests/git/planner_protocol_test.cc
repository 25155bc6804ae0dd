#include "git/planner_protocol.h"

#include <gtest/gtest.h>

#include <array>

namespace weir::git {
namespace {

ObjectId id(char digit) {
  return *ObjectId::from_hex(std::string(40, digit));
}

constexpr std::uint64_t kId = 3, kView = 7;

std::vector<RepositoryFile> files() {
  return {{.role = FileRole::pack, .name = "pack-a", .bytes = 1000},
          {.role = FileRole::pack_index, .name = "pack-a", .bytes = 1000}};
}

PlannerReply sample_reply(std::uint32_t file = 0, std::uint64_t offset = 12) {
  RecipeBuilder builder(ObjectFormat::sha1);
  builder.add_extent(file, offset, 100);
  builder.add_literal(std::array<std::uint8_t, 3>{1, 2, 3});
  PlannerReply reply;
  reply.id = kId;
  reply.view = kView;
  reply.memory_bytes = 123;
  reply.plan.status = PlanStatus::planned;
  reply.plan.problem = "none";
  reply.plan.recipe = builder.finish({.objects = 2}, std::nullopt);
  reply.plan.shallow = {id('a')};
  reply.plan.unshallow = {id('b'), id('c')};
  reply.plan.common = {id('d')};
  reply.plan.ready = true;
  reply.plan.cpu_us = 5;
  return reply;
}

// What the sample reply answers.
PlanRequest sample_question() {
  return {.wants = {},
          .haves = {id('a'), id('d'), id('e')},
          .shallows = {id('b'), id('c')},
          .depth = 3};
}

io::Result<PlannerReply> decode(const std::string& body, ObjectFormat format = ObjectFormat::sha1,
                                const PlanRequest& request = sample_question()) {
  const std::vector<RepositoryFile> known = files();
  return decode_reply(
      body, {.id = kId, .view = kView, .format = format, .files = known, .request = request});
}

std::vector<PlannerRequest> sample_requests() {
  AskPlan ask;
  ask.id = kId;
  ask.view = kView;
  ask.tips_digest = "digest";
  ask.request = {.wants = {id('a')}, .haves = {id('b')}, .shallows = {id('c')}, .depth = 3};
  ask.request.filter.blob_bytes_limit = 10;
  ask.request.done = false;
  ask.request.include_tag = true;
  ask.request.level = PlanLevel::cheapest;
  ask.request.time_ms_max = 1000;
  return {OpenView{kView, ObjectFormat::sha256, 2, files()},
          VisibleTips{"digest", {id('a')}, {{id('b'), id('c')}}}, ForgetView{kView}, ask};
}

TEST(PlannerProtocol, carries_every_request_whole) {
  for (const PlannerRequest& request : sample_requests()) {
    PlannerRequest read;
    ASSERT_TRUE(git::decode(encode(request), read)) << request.index();
    EXPECT_EQ(read.index(), request.index());
    EXPECT_EQ(encode(read), encode(request));
  }
  PlannerRequest read;
  ASSERT_TRUE(git::decode(encode(sample_requests()[3]), read));
  const auto& request = std::get<AskPlan>(read).request;
  EXPECT_EQ(request.wants, std::vector<ObjectId>{id('a')});
  EXPECT_EQ(request.filter.blob_bytes_limit, 10U);
  EXPECT_FALSE(request.done);
  EXPECT_EQ(request.level, PlanLevel::cheapest);
}

TEST(PlannerProtocol, carries_replies_whole) {
  const auto reply = decode(encode(sample_reply()));
  ASSERT_TRUE(reply);
  EXPECT_EQ(encode(*reply), encode(sample_reply()));
  EXPECT_EQ(reply->plan.recipe.counts().objects, 2U);
  EXPECT_EQ(reply->plan.unshallow, sample_reply().plan.unshallow);
  PlannerReply missing;
  missing.id = kId;
  missing.view = kView;
  missing.plan.status = PlanStatus::missing;
  const auto read = decode(encode(missing));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->plan.status, PlanStatus::missing);
}

TEST(PlannerProtocol, refuses_every_truncation_and_every_surplus) {
  const std::string reply = encode(sample_reply());
  for (std::size_t bytes = 0; bytes < reply.size(); ++bytes) {
    EXPECT_FALSE(decode(reply.substr(0, bytes)).has_value()) << bytes;
  }
  EXPECT_FALSE(decode(reply + "x").has_value());
  PlannerReply without = sample_reply();
  without.plan.status = PlanStatus::fallback;
  EXPECT_FALSE(decode(encode(without) + "x").has_value());
  for (const PlannerRequest& request : sample_requests()) {
    const std::string body = encode(request);
    PlannerRequest read;
    for (std::size_t bytes = 0; bytes < body.size(); ++bytes) {
      EXPECT_FALSE(git::decode(body.substr(0, bytes), read)) << request.index() << " " << bytes;
    }
    EXPECT_FALSE(git::decode(body + "x", read));
  }
}

TEST(PlannerProtocol, a_recipe_names_only_packs_of_the_repository_and_bytes_within_them) {
  EXPECT_TRUE(decode(encode(sample_reply(0, 900))).has_value());
  EXPECT_FALSE(decode(encode(sample_reply(0, 901))).has_value());
  EXPECT_FALSE(decode(encode(sample_reply(1))).has_value());  // an index
  EXPECT_FALSE(decode(encode(sample_reply(2))).has_value());
  EXPECT_FALSE(decode(encode(sample_reply(0, ~std::uint64_t{0} - 50))).has_value());
}

TEST(PlannerProtocol, refuses_replies_that_are_for_somebody_else) {
  PlannerReply reply = sample_reply();
  reply.view = kView + 1;
  EXPECT_FALSE(decode(encode(reply)).has_value());
  reply = sample_reply();
  reply.id = kId + 1;
  EXPECT_FALSE(decode(encode(reply)).has_value());
  EXPECT_FALSE(decode(encode(sample_reply()), ObjectFormat::sha256).has_value());
}

// Else a planner could say yes to what was not asked, or as much as it likes.
TEST(PlannerProtocol, refuses_commits_that_were_not_asked_about) {
  const auto taken = [](const PlannerReply& reply, const PlanRequest& request) {
    return decode(encode(reply), ObjectFormat::sha1, request).has_value();
  };
  const PlanRequest asked = sample_question();
  EXPECT_TRUE(taken(sample_reply(), asked));
  PlannerReply reply = sample_reply();
  for (const auto& common : {std::vector{id('f')}, {id('d'), id('d')}, {id('e'), id('d')}}) {
    reply.plan.common = common;
    EXPECT_FALSE(taken(reply, asked));
  }
  reply = sample_reply();
  reply.plan.unshallow = {id('a')};
  EXPECT_FALSE(taken(reply, asked));
  reply = sample_reply();
  reply.plan.shallow[0].bytes = 32;
  EXPECT_FALSE(taken(reply, asked));
  reply.plan.shallow.assign(kPlanShallowMax, id('a'));
  EXPECT_TRUE(taken(reply, asked));
  reply.plan.shallow.push_back(id('a'));
  EXPECT_FALSE(taken(reply, asked));
  PlanRequest no_depth = asked;
  no_depth.depth = 0;
  EXPECT_FALSE(taken(sample_reply(), no_depth));
  no_depth.depth = kWholeHistory;
  EXPECT_FALSE(taken(sample_reply(), no_depth));
}

TEST(PlannerProtocol, refuses_values_and_counts_out_of_range) {
  PlannerReply plain;
  plain.id = kId;
  plain.view = kView;
  plain.plan.status = PlanStatus::missing;
  const std::string body = encode(plain);
  ASSERT_TRUE(decode(body).has_value());
  // answer, id, view, memory, status, reason, problem, refused want, shallow, ...
  const std::size_t answer = 0, status = 25, reason = 26, problem = 27, want = 31, shallow = 32;
  const auto with = [&](std::size_t at, const std::string& bytes) {
    std::string changed = body;
    changed.replace(at, bytes.size(), bytes);
    return decode(changed).has_value();
  };
  EXPECT_FALSE(with(answer, "\x03"));
  EXPECT_FALSE(with(status, "\x40"));
  EXPECT_FALSE(with(reason, "\x40"));
  EXPECT_FALSE(with(problem, "\xff\xff\xff\xff"));
  EXPECT_FALSE(with(want, "\x13"));
  EXPECT_FALSE(with(shallow, "\xff\xff\xff\xff"));
  EXPECT_FALSE(with(body.size() - 9, "\x02"));  // ready
  plain.plan.problem = std::string(kPlannerProblemBytesMax + 1, 'x');
  EXPECT_FALSE(decode(encode(plain)).has_value());
  // A byte each on the wire, many in memory.
  plain.plan.problem.clear();
  plain.plan.common = {{}};
  EXPECT_FALSE(decode(encode(plain)).has_value());
}

}  // namespace
}  // namespace weir::git

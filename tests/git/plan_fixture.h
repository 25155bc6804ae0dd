#pragma once
// PlanFixture: replies of planners made by hand, for one repository with files that are real, on a
// loop whose clock only the test moves.

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "git/recipe_cache.h"
#include "tests/git/scratch_repository.h"
#include "tests/io/test_loop.h"

namespace weir::git {

using namespace std::chrono_literals;

inline ObjectId object(std::uint64_t number) {
  ObjectId id;
  id.bytes = 20;
  for (int i = 0; i < 8; ++i) id.hash[static_cast<std::size_t>(i)] = number >> 8 * i & 0xff;
  return id;
}

class PlanFixture : public testing::Test {
 protected:
  PlanFixture() {
    EXPECT_TRUE(loop.start().has_value());
    open_files();
  }
  // What is there now.
  std::shared_ptr<const RepositoryFiles> open_files() {
    const std::vector<std::string> roots = {scratch.folder()};
    auto opened = RepositoryFiles::open(repository("tenant/a"), ObjectFormat::sha1, files, roots);
    if (!opened) std::abort();
    return files = *opened;
  }
  // A pack, as far as who only opens it can see; `name`: one hex digit.
  void write_pack(char name, std::size_t bytes) const {
    const std::string stem = "objects/pack/pack-" + std::string(40, name);
    scratch.write(stem + ".pack", std::string(bytes, 'p'));
    scratch.write(stem + ".idx", "index");
  }
  Repository repository(const std::string& name, std::uint8_t number = 1) const {
    Repository made = *scratch.repository();
    made.name = name;
    made.id.bytes = {number};
    return made;
  }
  // `seed` shows in its CPU time; `bytes` of memory at least; `extra` blobs that were not asked
  // for.
  Planned planned(std::uint64_t seed, std::size_t bytes = 0, std::uint32_t extra = 0) const {
    auto reply = std::make_shared<PlanReply>();
    reply->status = PlanStatus::planned;
    reply->cpu_us = seed;
    RecipeBuilder builder(ObjectFormat::sha1);
    if (bytes != 0) builder.add_literal(std::vector<std::uint8_t>(bytes));
    reply->recipe = builder.finish({.objects = 1 + extra, .extra = extra}, std::nullopt);
    return {std::move(reply), files};
  }
  static Planned failed(PlanStatus status, FallbackReason reason = FallbackReason::none) {
    auto reply = std::make_shared<PlanReply>();
    reply->status = status;
    reply->reason = reason;
    return {std::move(reply), nullptr};
  }
  PlanKeys keys(const PlanRequest& request, std::string_view digest = "digest",
                std::uint8_t number = 1) const {
    return plan_keys(repository("", number).id, ObjectFormat::sha1, request, digest);
  }
  void pass(io::Duration time) {
    clock.advance(time);
    turn();
  }
  // Until everything that can go on has gone on.
  void turn() {
    for (int i = 0; i < 5; ++i) loop.turn(io::Instant::min());
  }

  io::ManualClock clock;
  io::EventLoop loop{0, io::test_backend(), clock};
  ScratchRepository scratch;
  std::shared_ptr<const RepositoryFiles> files;
};

}  // namespace weir::git

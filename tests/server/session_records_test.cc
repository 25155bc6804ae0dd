#include "server/session_records.h"

#include <gtest/gtest.h>

namespace weir::server {
namespace {

// A snapshot that advertises exactly one object.
class OneObject final : public git::RefSnapshot {
 public:
  explicit OneObject(git::ObjectId id) : id_(id) {}
  const git::RepositoryConfig& config() const override { return config_; }
  std::uint64_t repository_generation() const override { return 1; }
  std::string_view digest() const override { return ""; }
  std::string_view head_target() const override { return ""; }
  git::ObjectId head_id() const override { return id_; }
  std::size_t size() const override { return 0; }
  git::Ref at(std::size_t) const override { return {}; }
  std::optional<git::Ref> find(std::string_view) const override { return std::nullopt; }
  bool advertises(const git::ObjectId& id, git::Service) const override { return id == id_; }
  std::optional<git::RenderedBody> ls_refs(const git::LsRefsRequest&, git::Effort) const override {
    return std::nullopt;
  }
  std::optional<git::RenderedBody> advertisement(git::Service, int,
                                                 const git::AdvertisementOptions&,
                                                 git::Effort) const override {
    return std::nullopt;
  }

 private:
  git::ObjectId id_;
  git::RepositoryConfig config_;
};

git::ObjectId object(char digit) {
  return *git::ObjectId::from_hex(std::string(40, digit));
}

class SessionRecordsTest : public testing::Test {
 protected:
  SessionRecordsTest() {
    records_->remember(1, "token", repository_, std::make_shared<OneObject>(object('a')), now_);
  }
  bool advertised(std::uint64_t connection, const char* token, io::Duration later = {}) {
    const auto shown = records_->shown(connection, token, repository_, now_ + later);
    return shown != nullptr && shown->advertises(object('a'), git::Service::upload_pack);
  }

  git::RepositoryId repository_{};
  io::Instant now_{io::Duration{1}};
  std::unique_ptr<SessionRecords> records_ = std::make_unique<SessionRecords>();
};

TEST_F(SessionRecordsTest, remembers_what_a_session_was_shown) {
  EXPECT_TRUE(advertised(1, "token"));
}

TEST_F(SessionRecordsTest, does_not_lend_it_to_another_connection_or_principal) {
  EXPECT_FALSE(advertised(2, "token"));
  EXPECT_FALSE(advertised(1, "other"));
  EXPECT_FALSE(advertised(1, ""));
}

TEST_F(SessionRecordsTest, forgets_after_the_grace) {
  EXPECT_TRUE(advertised(1, "token", kSessionGrace));
  EXPECT_FALSE(advertised(1, "token", kSessionGrace + io::Duration{1}));
}

TEST_F(SessionRecordsTest, drops_snapshots_that_expired_and_all_when_rights_change) {
  records_->expire(now_ + kSessionGrace + io::Duration{1});
  EXPECT_FALSE(advertised(1, "token"));
  records_->remember(1, "token", repository_, std::make_shared<OneObject>(object('a')), now_);
  records_->clear();
  EXPECT_FALSE(advertised(1, "token"));
}

std::size_t live_bytes = 0;

TEST(SessionRecords, let_the_oldest_snapshot_go_while_snapshots_hold_too_much) {
  const auto records = std::make_unique<SessionRecords>(+[] { return live_bytes; });
  const auto old = std::make_shared<OneObject>(object('a'));
  const auto young = std::make_shared<OneObject>(object('b'));
  const git::RepositoryId repository{};
  io::Instant now{io::Duration{1}};
  const auto shown = [&](std::uint64_t connection) {
    return records->shown(connection, "", repository, now);
  };
  records->remember(1, "", repository, old, now);
  records->remember(2, "", repository, young, now += io::Duration{1});
  records->remember(3, "", repository, old, now += io::Duration{1});
  live_bytes = kRefLiveBytesMax;
  records->expire(now);
  EXPECT_EQ(shown(1), old);

  live_bytes = kRefLiveBytesMax + 1;
  records->remember(4, "", repository, young, now);
  EXPECT_EQ(old.use_count(), 1);
  EXPECT_EQ(shown(2), young);
  EXPECT_EQ(shown(4), young);
  records->expire(now);
  EXPECT_EQ(young.use_count(), 1);
  records->expire(now);  // nothing is left that could go
}

}  // namespace
}  // namespace weir::server

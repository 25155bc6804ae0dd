#include "io/stop_token.h"

#include <gtest/gtest.h>

#include <memory>

namespace weir::io {
namespace {

struct Counting : StopCallback {
  Counting() {
    on_stop = [](StopCallback& self) { ++static_cast<Counting&>(self).calls; };
  }
  int calls = 0;
};

TEST(StopToken, calls_back_once_when_the_source_stops) {
  StopSource source;
  const StopToken token(source);
  Counting callback;
  token.subscribe(callback);
  EXPECT_FALSE(token.stopped());
  source.request_stop();
  source.request_stop();
  EXPECT_TRUE(token.stopped());
  EXPECT_EQ(callback.calls, 1);
}

TEST(StopToken, a_default_token_never_stops) {
  const StopToken token;
  Counting callback;
  token.subscribe(callback);
  EXPECT_FALSE(token.stopped());
  EXPECT_FALSE(callback.linked());
}

TEST(StopToken, a_callback_that_went_away_is_not_called) {
  StopSource source;
  {
    Counting gone;
    StopToken(source).subscribe(gone);
  }
  source.request_stop();
}

TEST(StopToken, a_callback_may_remove_another_while_stopping) {
  struct Removing : StopCallback {
    std::unique_ptr<Counting>* other = nullptr;
  } first;
  StopSource source;
  auto second = std::make_unique<Counting>();
  first.other = &second;
  first.on_stop = [](StopCallback& self) { static_cast<Removing&>(self).other->reset(); };
  StopToken(source).subscribe(first);
  StopToken(source).subscribe(*second);
  source.request_stop();
  EXPECT_EQ(second, nullptr);
}

TEST(StopToken, a_linked_source_stops_with_its_parent_but_not_the_other_way) {
  StopSource parent;
  LinkedStopSource child{StopToken(parent)};
  LinkedStopSource sibling{StopToken(parent)};
  child.request_stop();
  EXPECT_FALSE(parent.stopped());
  EXPECT_FALSE(sibling.stopped());
  Counting callback;
  sibling.token().subscribe(callback);
  parent.request_stop();
  EXPECT_EQ(callback.calls, 1);
  EXPECT_TRUE(LinkedStopSource{StopToken(parent)}.stopped());  // late child: stopped from birth
}

}  // namespace
}  // namespace weir::io

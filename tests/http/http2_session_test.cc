#include "http/http2_session.h"

#include "tests/http/http2_world.h"

namespace weir::http {
namespace {

using namespace std::chrono_literals;

std::string pattern(std::size_t bytes) {
  std::string text(bytes, '\0');
  std::uint32_t state = 1;
  for (char& c : text) c = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  return text;
}

TEST(Http2Session, answers_a_get_in_one_data_frame) {
  Http2World world;
  Http2Peer& peer = world.connect();
  const PeerReply& reply = world.get(peer, "/hello");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body, "hello");
  EXPECT_TRUE(reply.ended);
  EXPECT_EQ(reply.error, NGHTTP2_NO_ERROR);
  const PeerFields expected{{"content-type", "text/plain"}, {"content-length", "5"}};
  EXPECT_EQ(reply.fields, expected);
}

TEST(Http2Session, echoes_8_mib_through_its_windows) {
  Http2World world;
  Http2Peer& peer = world.connect();
  const std::string body = pattern(8 << 20);
  const std::int32_t id = peer.request(Http2Peer::post("/echo"), body);
  world.until([&] { return peer.replies[id].closed; });
  EXPECT_TRUE(peer.replies[id].ended);
  EXPECT_TRUE(peer.replies[id].body == body);
}

TEST(Http2Session, keeps_the_windows_it_was_told_to) {
  Http2World world;
  Http2Peer& peer = world.connect();
  world.get(peer, "/hello");
  EXPECT_EQ(
      nghttp2_session_get_remote_settings(peer.session(), NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS),
      kHttp2StreamsMax);
  EXPECT_EQ(
      nghttp2_session_get_remote_settings(peer.session(), NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE),
      static_cast<std::uint32_t>(kStreamWindowBytes));
  EXPECT_EQ(nghttp2_session_get_remote_window_size(peer.session()), kConnectionWindowBytes);
}

TEST(Http2Session, gives_a_client_no_window_for_what_the_handler_did_not_read) {
  Http2World world;
  Http2Peer& peer = world.connect();
  const std::int32_t id = peer.request(Http2Peer::post("/hold"), pattern(8 << 20));
  world.until(
      [&] { return nghttp2_session_get_stream_remote_window_size(peer.session(), id) == 0; });
  world.turns(50);
  EXPECT_EQ(nghttp2_session_get_stream_remote_window_size(peer.session(), id), 0);
  world.server.open_gate();
  world.until([&] { return peer.replies[id].ended; });
  EXPECT_EQ(peer.replies[id].body, "held");
}

TEST(Http2Session, does_not_let_uploads_nobody_reads_hold_up_the_others_of_their_connection) {
  Http2World world;
  Http2Peer& peer = world.connect();
  std::vector<std::int32_t> waiting;
  for (int i = 0; i < 6; ++i) {
    waiting.push_back(peer.request(Http2Peer::post("/hold"), pattern(1 << 20)));
  }
  const std::int32_t id = peer.request(Http2Peer::post("/echo"), pattern(4 << 20));
  world.until([&] { return peer.replies[id].closed; });
  EXPECT_EQ(peer.replies[id].body_bytes, 4U << 20);
  const std::int64_t held = upload_window_budget_used();
  EXPECT_EQ(held, 6 * kStreamWindowBytes);
  world.server.open_gate();
  for (const std::int32_t each : waiting) world.until([&] { return peer.replies[each].closed; });
  EXPECT_EQ(upload_window_budget_used(), 0);
}

TEST(Http2Session, asks_after_an_upload_that_went_silent_before_its_end) {
  Http2World world;
  Http2Peer& peer = world.connect();
  const std::int32_t id = peer.request(Http2Peer::post("/echo"), "all but the end", false);
  world.until([&] { return peer.replies[id].body == "all but the end"; });
  EXPECT_EQ(peer.pings, 0);
  world.clock.moved += 11s;
  world.until([&] {
    world.clock.moved += 1s;
    return peer.pings > 0;
  });
  EXPECT_FALSE(peer.replies[id].closed);
}

TEST(Http2Session, serves_a_hundred_streams_at_once) {
  Http2World world;
  Http2Peer& peer = world.connect();
  std::vector<std::int32_t> ids;
  for (std::uint32_t i = 0; i < kHttp2StreamsMax; ++i) {
    ids.push_back(peer.request(Http2Peer::get("/hold")));
  }
  world.until([&] { return world.server.exchanges == kHttp2StreamsMax; });
  world.server.open_gate();
  for (const std::int32_t id : ids) world.until([&] { return peer.replies[id].closed; });
  for (const std::int32_t id : ids) EXPECT_EQ(peer.replies[id].status, 200);
}

TEST(Http2Session, keeps_the_place_of_a_reset_stream_until_its_handler_lets_go) {
  Http2World world;
  Http2Peer& peer = world.connect();
  std::vector<std::int32_t> ids;
  for (std::uint32_t i = 0; i < kHttp2StreamsMax; ++i) {
    ids.push_back(peer.request(Http2Peer::get("/hold")));
  }
  world.until([&] { return world.server.exchanges == kHttp2StreamsMax; });
  for (std::size_t i = 0; i < 50; ++i) peer.reset(ids[i]);
  EXPECT_EQ(world.get(peer, "/hello").error, NGHTTP2_REFUSED_STREAM);
  world.server.open_gate();
  world.until([&] { return world.server.scope.running() == 0; });
  EXPECT_EQ(world.server.stopped, 50);
  EXPECT_EQ(world.get(peer, "/hello").status, 200);
}

TEST(Http2Session, holds_nothing_for_a_slow_reader) {
  Http2World world;
  world.server.bulk_bytes = 64 << 20;
  Http2Peer& peer = world.connect(0x7fffffff);
  const std::int32_t id = peer.request(Http2Peer::get("/bulk"));
  world.until([&] { return peer.replies[id].status == 200; });
  peer.reading = false;
  world.turns(200);
  const std::uint64_t taken = world.server.bulk_taken;
  world.turns(200);
  EXPECT_EQ(world.server.bulk_taken, taken);
  // The stream's output buffer, the sockets', and the chunk in the handler's hand.
  EXPECT_LT(taken - peer.replies[id].body_bytes, 2U << 20);
  peer.reading = true;
  world.until([&] { return peer.replies[id].closed; });
  EXPECT_EQ(peer.replies[id].body_bytes, world.server.bulk_bytes);
}

TEST(Http2Session, sends_no_more_than_the_client_has_window_for) {
  Http2World world;
  Http2Peer& peer = world.connect(65535, false);
  const std::int32_t id = peer.request(Http2Peer::get("/bulk"));
  world.until([&] { return peer.replies[id].body_bytes == 65535; });
  world.turns(50);
  EXPECT_EQ(peer.replies[id].body_bytes, 65535U);
  EXPECT_FALSE(peer.broken);
}

TEST(Http2Session, interleaves_the_answers_of_one_flow_and_of_several) {
  for (const auto& flows : {std::vector<std::uint64_t>{}, std::vector<std::uint64_t>{7, 8, 9}}) {
    Http2World world;
    world.server.flows = flows;
    world.server.bulk_bytes = 16 << 20;
    Http2Peer& peer = world.connect(0x7fffffff);
    const std::int32_t first = peer.request(Http2Peer::get("/bulk"));
    const std::int32_t second = peer.request(Http2Peer::get("/bulk"));
    const std::int32_t third = peer.request(Http2Peer::get("/bulk"));
    world.until([&] { return peer.replies[third].body_bytes > (8 << 20); });
    EXPECT_GT(peer.replies[first].body_bytes, 6U << 20);
    EXPECT_LT(peer.replies[first].body_bytes, 11U << 20);
    EXPECT_GT(peer.replies[second].body_bytes, 6U << 20);
    EXPECT_LT(peer.replies[second].body_bytes, 11U << 20);
    for (const std::int32_t id : {first, second, third}) {
      world.until([&] { return peer.replies[id].closed; });
      EXPECT_EQ(peer.replies[id].body_bytes, world.server.bulk_bytes);
    }
  }
}

TEST(Http2Session, ends_a_failed_answer_with_a_reset_never_with_end_stream) {
  for (const char* path : {"/abort", "/short", "/drop"}) {
    Http2World world;
    Http2Peer& peer = world.connect();
    const PeerReply& reply = world.get(peer, path);
    EXPECT_FALSE(reply.ended) << path;
    EXPECT_EQ(reply.error, NGHTTP2_INTERNAL_ERROR) << path;
    EXPECT_EQ(world.get(peer, "/hello").status, 200) << path;
  }
}

TEST(Http2Session, lets_a_client_finish_its_upload_after_an_early_answer) {
  Http2World world;
  Http2Peer& peer = world.connect();
  const std::int32_t id = peer.request(Http2Peer::post("/early"), pattern(8 << 20));
  world.until([&] { return peer.replies[id].closed; });
  EXPECT_EQ(peer.replies[id].status, 403);
  EXPECT_EQ(peer.replies[id].body, "no");
  EXPECT_TRUE(peer.replies[id].ended);
  EXPECT_EQ(peer.replies[id].error, NGHTTP2_NO_ERROR);
  EXPECT_EQ(world.get(peer, "/hello").status, 200);
}

TEST(Http2Session, gives_up_an_answered_upload_that_stopped_moving) {
  Http2World world;
  Http2Peer& peer = world.connect();
  const std::int32_t id = peer.request(Http2Peer::post("/early"), "some", false);
  world.until([&] { return peer.replies[id].ended; });
  world.turns(20);
  EXPECT_FALSE(peer.replies[id].closed);
  world.clock.moved += kBodyGrace + 10s;
  world.until([&] { return peer.replies[id].closed; });
  EXPECT_EQ(peer.replies[id].error, NGHTTP2_NO_ERROR);
}

TEST(Http2Session, sends_no_body_for_head_and_204) {
  Http2World world;
  Http2Peer& peer = world.connect();
  PeerFields head = Http2Peer::get("/hello");
  head[0].second = "HEAD";
  const std::int32_t id = peer.request(head);
  world.until([&] { return peer.replies[id].closed; });
  EXPECT_EQ(peer.replies[id].body, "");
  EXPECT_EQ(peer.replies[id].fields.back().second, "5");
  EXPECT_EQ(world.get(peer, "/quiet").status, 204);
}

TEST(Http2Session, says_100_continue_when_the_handler_reads) {
  Http2World world;
  Http2Peer& peer = world.connect();
  PeerFields fields = Http2Peer::post("/echo");
  fields.emplace_back("expect", "100-continue");
  const std::int32_t id = peer.request(fields, "", false);
  world.until([&] { return peer.replies[id].interim == 100; });
  EXPECT_EQ(peer.replies[id].status, 0);
}

TEST(Http2Session, tells_the_handler_when_its_client_leaves) {
  Http2World world;
  Http2Peer& first = world.connect();
  const std::int32_t id = first.request(Http2Peer::get("/stop"));
  world.until([&] { return world.server.exchanges == 1; });
  first.reset(id);
  world.until([&] { return world.server.stopped == 1; });
  Http2Peer& second = world.connect();
  second.request(Http2Peer::get("/stop"));
  world.until([&] { return world.server.exchanges == 2; });
  second.hang_up();
  world.until([&] { return world.server.stopped == 2; });
}

TEST(Http2Session, tells_the_handler_when_an_upload_breaks_off_or_lies_about_its_length) {
  Http2World world;
  Http2Peer& peer = world.connect();
  const std::int32_t cut = peer.request(Http2Peer::post("/echo"), "abc", false);
  world.until([&] { return peer.replies[cut].body == "abc"; });
  peer.reset(cut);
  world.until([&] { return world.server.body_errors.size() == 1; });
  for (const char* length : {"2", "4"}) {
    PeerFields fields = Http2Peer::post("/echo");
    fields.emplace_back("content-length", length);
    const std::int32_t id = peer.request(fields, "abc");
    world.until([&] { return peer.replies[id].closed; });
    EXPECT_EQ(peer.replies[id].error, NGHTTP2_PROTOCOL_ERROR);
    EXPECT_FALSE(peer.replies[id].ended);
  }
  world.until([&] { return world.server.idle() || world.server.scope.running() == 0; });
  EXPECT_GE(world.server.body_errors.size(), 1U);
  EXPECT_EQ(world.get(peer, "/hello").status, 200);
}

TEST(Http2Session, drains_in_two_steps_and_ends_when_the_last_answer_is_out) {
  Http2World world;
  Http2Peer& peer = world.connect();
  const std::int32_t held = peer.request(Http2Peer::get("/hold"));
  world.until([&] { return world.server.exchanges == 1; });
  world.last->drain();
  world.until([&] { return peer.goaways.size() == 1; });
  EXPECT_EQ(peer.goaways[0].first, 0x7fffffff);
  EXPECT_EQ(peer.goaways[0].second, NGHTTP2_NO_ERROR);
  // nghttp2's client obeys the notice; one whose request was under way does not know of it yet.
  peer.by_hand = true;
  peer.raw(Http2Peer::frame(NGHTTP2_HEADERS, 5, 3, std::string("\x82\x86\x84\x41\x01x", 6)));
  world.until([&] { return world.server.exchanges == 2; });
  world.clock.moved += kDrainNoticeDelay;
  world.until([&] { return peer.goaways.size() == 2; });
  EXPECT_EQ(peer.goaways[1].first, 3);
  EXPECT_EQ(peer.goaways[1].second, NGHTTP2_NO_ERROR);
  world.turns(20);
  EXPECT_FALSE(peer.closed);
  world.server.open_gate();
  world.until([&] { return peer.closed; });
  EXPECT_TRUE(peer.replies[held].ended);
  EXPECT_TRUE(peer.replies[3].ended);
}

TEST(Http2Session, ends_an_idle_connection_at_once_when_drained) {
  Http2World world;
  Http2Peer& peer = world.connect();
  world.get(peer, "/hello");
  world.last->drain();
  world.until([&] { return peer.goaways.size() == 1; });
  world.clock.moved += kDrainNoticeDelay;
  world.until([&] { return peer.closed; });
}

TEST(Http2Session, says_goodbye_to_an_idle_connection) {
  Http2World world;
  Http2Peer& peer = world.connect();
  world.get(peer, "/hello");
  world.clock.moved += kIdleTimeoutHttp2 - 10s;
  world.turns(20);
  EXPECT_FALSE(peer.closed);
  world.get(peer, "/hello");
  world.clock.moved += kIdleTimeoutHttp2 - 10s;
  world.turns(20);
  EXPECT_FALSE(peer.closed);
  world.clock.moved += 20s;
  world.until([&] { return peer.closed; });
  ASSERT_EQ(peer.goaways.size(), 1U);
  EXPECT_EQ(peer.goaways[0].second, NGHTTP2_NO_ERROR);
}

TEST(Http2Session, keeps_a_connection_with_a_slow_handler) {
  Http2World world;
  Http2Peer& peer = world.connect();
  const std::int32_t id = peer.request(Http2Peer::get("/hold"));
  world.until([&] { return world.server.exchanges == 1; });
  world.clock.moved += 10 * kIdleTimeoutHttp2;
  world.turns(50);
  world.server.open_gate();
  world.until([&] { return peer.replies[id].closed; });
  EXPECT_EQ(peer.replies[id].body, "held");
}

TEST(Http2Session, resets_an_answer_whose_window_stays_shut) {
  Http2World world;
  Http2Peer& peer = world.connect(65535, false);
  const std::int32_t id = peer.request(Http2Peer::get("/bulk"));
  world.until([&] { return peer.replies[id].body_bytes == 65535; });
  world.clock.moved += io::kStreamStallTimeout + 10s;
  world.until([&] { return peer.replies[id].closed; });
  EXPECT_EQ(peer.replies[id].error, NGHTTP2_CANCEL);
  EXPECT_EQ(world.get(peer, "/quiet").status, 204);
}

TEST(Http2Session, moves_a_connection_on_after_many_requests) {
  Http2World world;
  Http2Peer& peer = world.connect();
  std::int32_t id = 0;
  for (std::uint32_t sent = 0; sent < kRequestsPerConnectionMax; ++sent) {
    id = peer.request(Http2Peer::get("/quiet"));
    if (sent % 100 == 99) world.until([&] { return peer.replies[id].closed; });
    if (sent + 1 < kRequestsPerConnectionMax) ASSERT_TRUE(peer.goaways.empty());
  }
  world.until([&] { return peer.goaways.size() == 1; });
  EXPECT_EQ(peer.replies[id].status, 204);
  world.clock.moved += kDrainNoticeDelay;
  world.until([&] { return peer.closed; });
}

}  // namespace
}  // namespace weir::http

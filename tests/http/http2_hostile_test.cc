// Http2Session against clients that mean harm: malformed heads, bombs and floods. Each costs a
// bounded amount, ends in the error that names it, and leaves other connections alone.

#include "http/http2_session.h"
#include "tests/http/http2_world.h"

namespace weir::http {
namespace {

using namespace std::chrono_literals;

constexpr std::uint8_t kEndStream = 1;
constexpr std::uint8_t kEndHeaders = 4;

// HPACK: a literal field without indexing.
std::string literal(const std::string& name, const std::string& value) {
  std::string text(1, '\0');
  for (const std::string& part : {name, value}) {
    if (part.size() < 127) {
      text += static_cast<char>(part.size());
    } else {
      text += '\x7f';
      std::size_t rest = part.size() - 127;
      for (; rest >= 128; rest /= 128) text += static_cast<char>(0x80 | (rest % 128));
      text += static_cast<char>(rest);
    }
    text += part;
  }
  return text;
}
std::string block(const PeerFields& fields) {
  std::string text;
  for (const auto& [name, value] : fields) text += literal(name, value);
  return text;
}

// Sends `bytes` behind the preface and waits for the end of the connection.
void expect_calm(Http2World& world, Http2Peer& peer) {
  world.until([&] { return peer.closed; });
  ASSERT_FALSE(peer.goaways.empty());
  EXPECT_EQ(peer.goaways.back().second, NGHTTP2_ENHANCE_YOUR_CALM);
  EXPECT_FALSE(world.server.refusals.empty());
}

TEST(Http2Hostile, refuses_malformed_heads_and_goes_on) {
  const PeerFields good = Http2Peer::get("/hello");
  const auto with = [&](std::size_t at, const std::string& name, const std::string& value) {
    PeerFields fields = good;
    fields.insert(fields.begin() + static_cast<std::ptrdiff_t>(at), {name, value});
    return fields;
  };
  const auto without = [&](std::size_t at) {
    PeerFields fields = good;
    fields.erase(fields.begin() + static_cast<std::ptrdiff_t>(at));
    return fields;
  };
  const auto changed = [&](std::size_t at, const std::string& value) {
    PeerFields fields = good;
    fields[at].second = value;
    return fields;
  };
  // Status 0: a stream error; else the answer.
  const std::vector<std::pair<PeerFields, int>> table{
      {without(0), 0},
      {without(1), 0},
      {without(2), 0},
      {without(3), 0},
      {with(0, ":method", "GET"), 0},
      {with(0, ":path", "/x"), 0},
      {with(0, ":authority", "weir.test"), 0},
      {with(0, ":status", "200"), 0},
      {with(0, ":unknown", "x"), 0},
      {with(0, ":protocol", "websocket"), 0},
      {with(0, "x", "before the pseudo fields"), 0},
      {with(4, "Upper", "case"), 0},
      {with(4, "connection", "close"), 0},
      {with(4, "keep-alive", "x"), 0},
      {with(4, "proxy-connection", "x"), 0},
      {with(4, "transfer-encoding", "chunked"), 0},
      {with(4, "upgrade", "h2c"), 0},
      {with(4, "te", "gzip"), 0},
      {with(4, "sp ace", "x"), 0},
      {with(4, "", "x"), 0},
      {with(4, "x", "a\rb"), 0},
      {with(4, "x", "a\nb"), 0},
      {with(4, "x", std::string("a\0b", 3)), 0},
      {with(4, "content-length", "x"), 0},
      {with(4, "content-length", "5"), 0},
      {with(4, "host", "evil.test"), 400},
      {changed(0, "CONNECT"), 0},
      {changed(0, "G T"), 0},
      {changed(1, "ftp"), 400},
      {changed(2, "user@weir.test"), 400},
      {changed(3, ""), 0},
      {changed(3, "no-slash"), 0},
      {changed(3, "/a b"), 0},
      {changed(3, "/a#b"), 400},
      {changed(3, "/" + std::string(9000, 'a')), 414},
  };
  for (const auto& [fields, status] : table) {
    Http2World world;
    Http2Peer& peer = world.connect();
    world.get(peer, "/hello");
    peer.by_hand = true;
    peer.raw(Http2Peer::frame(NGHTTP2_HEADERS, kEndStream | kEndHeaders, 3, block(fields)));
    PeerReply& reply = peer.replies[3];
    world.until([&] { return reply.closed || reply.ended || peer.closed; });
    const std::string shown = fields.back().first + ": " + fields.back().second.substr(0, 30);
    EXPECT_FALSE(peer.closed) << shown;
    EXPECT_EQ(world.server.exchanges, 1U) << shown;
    EXPECT_EQ(world.server.refusals.size(), status == 0 ? 0U : 1U) << shown;
    if (status != 0) {
      EXPECT_TRUE(world.server.refusals[0].starts_with(std::to_string(status))) << shown;
    }
    EXPECT_EQ(reply.error, status == 0 ? NGHTTP2_PROTOCOL_ERROR : NGHTTP2_NO_ERROR) << shown;
  }
}

TEST(Http2Hostile, answers_431_to_a_head_over_the_routes_limit_and_serves_a_route_that_allows_it) {
  Http2World world;
  Http2Peer& peer = world.connect();
  PeerFields large = Http2Peer::get("/hello");
  for (int i = 0; i < 40; ++i) large.emplace_back("x-" + std::to_string(i), std::string(1000, 'v'));
  const std::int32_t refused = peer.request(large);
  world.until([&] { return peer.replies[refused].closed; });
  EXPECT_EQ(peer.replies[refused].status, 431);
  EXPECT_EQ(world.server.exchanges, 0U);
  large[3].second = "/limits";
  const std::int32_t served = peer.request(large);
  world.until([&] { return peer.replies[served].closed; });
  EXPECT_EQ(peer.replies[served].status, 200);
  EXPECT_FALSE(peer.closed);
}

TEST(Http2Hostile, ends_a_connection_that_sends_a_header_bomb) {
  Http2World world;
  Http2Peer& peer = world.connect();
  world.get(peer, "/hello");
  // One large field put into the table, then named again and again by one byte each.
  std::string bomb = block(Http2Peer::get("/hello"));
  bomb += std::string("\x40\x01x\x7f\x81\x1e", 6) + std::string(127 + 1 + 30 * 128, 'v');
  bomb += std::string(8000, '\xbe');
  peer.raw(Http2Peer::frame(NGHTTP2_HEADERS, kEndStream | kEndHeaders, 3, bomb));
  expect_calm(world, peer);
  EXPECT_EQ(world.server.exchanges, 1U);
}

TEST(Http2Hostile, ends_a_rapid_reset_flood_and_serves_others_meanwhile) {
  Http2World world;
  Http2Peer& attacker = world.connect();
  Http2Peer& other = world.connect();
  world.get(other, "/hello");
  const std::string head = block(Http2Peer::get("/stop"));
  std::string flood;
  for (std::uint32_t i = 0; i < 5000; ++i) {
    flood += Http2Peer::frame(NGHTTP2_HEADERS, kEndStream | kEndHeaders, 2 * i + 1, head);
    flood += Http2Peer::frame(NGHTTP2_RST_STREAM, 0, 2 * i + 1, std::string("\0\0\0\x08", 4));
  }
  world.turns(5);
  attacker.raw(flood);
  const PeerReply& reply = world.get(other, "/hello");
  EXPECT_EQ(reply.status, 200);
  expect_calm(world, attacker);
  // At most what the budget allows has reached the handler.
  EXPECT_LE(world.server.exchanges, 2U + 100U);
  world.until([&] { return world.server.scope.running() == 0; });
  EXPECT_EQ(world.get(other, "/hello").status, 200);
}

TEST(Http2Hostile, ends_slow_rapid_reset_too) {
  Http2World world;
  Http2Peer& peer = world.connect();
  int sent = 0;
  for (; sent < 1000 && !peer.closed; ++sent) {
    const std::int32_t id = peer.request(Http2Peer::get("/stop"));
    world.turns(2);
    if (id > 0) peer.reset(id);
    world.turns(2);
  }
  EXPECT_LT(sent, 200);
  expect_calm(world, peer);
}

TEST(Http2Hostile, ends_floods) {
  const std::string ping = Http2Peer::frame(NGHTTP2_PING, 0, 0, std::string(8, 'p'));
  const std::string settings =
      Http2Peer::frame(NGHTTP2_SETTINGS, 0, 0, std::string("\0\x03\0\0\0\x64", 6));
  const std::string many_settings = [] {
    std::string payload;
    for (int i = 0; i < 40; ++i) payload += std::string("\0\x03\0\0\0\x64", 6);
    return Http2Peer::frame(NGHTTP2_SETTINGS, 0, 0, payload);
  }();
  const std::string priority =
      Http2Peer::frame(NGHTTP2_PRIORITY, 0, 1, std::string("\0\0\0\0\x10", 5));
  const std::string unknown = Http2Peer::frame(0x77, 0, 0, "what");
  const std::string dribble =
      Http2Peer::frame(NGHTTP2_WINDOW_UPDATE, 0, 0, std::string("\0\0\0\x01", 4));
  const std::string held =
      Http2Peer::frame(NGHTTP2_HEADERS, kEndHeaders, 1, block(Http2Peer::post("/hold")));
  const std::string empty_data = Http2Peer::frame(NGHTTP2_DATA, 0, 1, "");
  const std::string padded_data =
      Http2Peer::frame(NGHTTP2_DATA, 8, 1, std::string("\x03\0\0\0", 4));
  const std::string open_head =
      Http2Peer::frame(NGHTTP2_HEADERS, kEndStream, 1, block(Http2Peer::get("/hello")));
  const std::string continuation = Http2Peer::frame(NGHTTP2_CONTINUATION, 0, 1, literal("x", "y"));
  struct Row {
    const char* name;
    std::string before;
    std::string each;
    int count;
  };
  const std::vector<Row> table{
      {"ping", "", ping, 5000},
      {"settings", "", settings, 5000},
      {"settings with many entries", "", many_settings, 1},
      {"priority", "", priority, 5000},
      {"unknown frames", "", unknown, 5000},
      {"window dribble", "", dribble, 5000},
      {"empty data", held, empty_data, 5000},
      {"padding only", held, padded_data, 5000},
      {"continuation", open_head, continuation, 5000},
  };
  for (const Row& row : table) {
    SCOPED_TRACE(row.name);
    Http2World world;
    Http2Peer& peer = world.connect();
    world.turns(5);
    std::string flood = row.before;
    for (int i = 0; i < row.count; ++i) flood += row.each;
    peer.raw(flood);
    expect_calm(world, peer);
    world.server.open_gate();
    world.until([&] { return world.server.idle() || world.server.scope.running() == 0; });
  }
}

TEST(Http2Hostile, ends_an_answer_taken_byte_by_byte) {
  Http2World world;
  Http2Peer& peer = world.connect(1, false);
  const std::int32_t id = peer.request(Http2Peer::get("/bulk"));
  int updates = 0;
  for (; updates < 3000 && !peer.closed; ++updates) {
    nghttp2_submit_window_update(peer.session(), 0, id, 1);
    world.turns(2);
  }
  EXPECT_LT(updates, 1000);
  expect_calm(world, peer);
}

TEST(Http2Hostile, ends_a_connection_without_the_preface) {
  for (const std::string text : {"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
                                 "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGET / "
                                 "HTTP/1.1\r\nhost: x\r\n\r\n"}) {
    Http2World world;
    const auto fds = io::socket_pair();
    world.server.accept(world.loop, fds[0]);
    ASSERT_EQ(::send(fds[1], text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
    world.until([&] { return world.server.closes.size() == 1 || world.server.idle(); });
    ::close(fds[1]);
    EXPECT_EQ(world.server.exchanges, 0U);
  }
}

TEST(Http2Hostile, knows_a_preface_that_comes_in_pieces) {
  Http2World world;
  const auto fds = io::socket_pair();
  world.server.accept(world.loop, fds[0]);
  const std::string settings("\0\0\0\4\0\0\0\0\0", 9);
  for (const std::string& piece : {std::string("P"), std::string("RI * HTTP/2.0\r\n"),
                                   std::string("\r\nSM\r\n\r\n") + settings}) {
    ASSERT_EQ(::send(fds[1], piece.data(), piece.size(), 0), static_cast<ssize_t>(piece.size()));
    world.turns(5);
  }
  std::array<char, 9> frame{};
  ASSERT_EQ(::recv(fds[1], frame.data(), frame.size(), 0), static_cast<ssize_t>(frame.size()));
  EXPECT_EQ(frame[3], NGHTTP2_SETTINGS);
  ::close(fds[1]);
  world.until([&] { return world.server.idle(); });
}

TEST(Http2Hostile, ends_a_head_that_never_ends) {
  Http2World world;
  Http2Peer& peer = world.connect();
  world.turns(5);
  peer.raw(Http2Peer::frame(NGHTTP2_HEADERS, kEndStream, 1, block(Http2Peer::get("/hello"))));
  world.turns(20);
  EXPECT_FALSE(peer.closed);
  world.clock.moved += kHeadTimeout + 10s;
  expect_calm(world, peer);
  EXPECT_EQ(world.server.exchanges, 0U);
}

TEST(Http2Hostile, ends_trailers_without_bound) {
  Http2World world;
  Http2Peer& peer = world.connect();
  world.turns(5);
  std::string trailers;
  for (int i = 0; i < 30; ++i) trailers += literal("x", std::string(500, 'v'));
  peer.raw(Http2Peer::frame(NGHTTP2_HEADERS, kEndHeaders, 1, block(Http2Peer::post("/hold"))));
  peer.raw(Http2Peer::frame(NGHTTP2_HEADERS, kEndStream | kEndHeaders, 1, trailers));
  expect_calm(world, peer);
}

TEST(Http2Hostile, takes_ordinary_control_frames_for_ever) {
  Http2World world;
  Http2Peer& peer = world.connect();
  for (int i = 0; i < 500; ++i) {
    nghttp2_submit_ping(peer.session(), 0, nullptr);
    const PeerReply& reply = world.get(peer, "/hello");
    ASSERT_EQ(reply.status, 200) << i;
    world.clock.moved += 500ms;
  }
  EXPECT_TRUE(peer.goaways.empty());
}

}  // namespace
}  // namespace weir::http

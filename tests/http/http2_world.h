#pragma once
// Http2World: a loop with a clock that can be moved, a PathServer and its Http2Peers, all on the
// test's thread. Conditions that never come fail the test.

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <vector>

#include "tests/http/http2_peer.h"
#include "tests/http/path_server.h"
#include "tests/io/test_loop.h"

namespace weir::http {

class Http2World {
 public:
  struct Clock final : io::Clock {
    io::Instant now() const override { return std::chrono::steady_clock::now() + moved; }
    std::int64_t unix_ns() const override { return now().time_since_epoch().count(); }
    io::Duration moved{};
  };

  Http2World() : loop(0, io::test_backend(), clock) { EXPECT_TRUE(loop.start().has_value()); }
  ~Http2World() {
    server.abort_all();
    until([&] { return server.idle(); });
  }

  Http2Peer& connect(std::int32_t window = 1 << 20, bool automatic_windows = true) {
    const auto fds = io::socket_pair();
    last = &server.accept(loop, fds[0]);
    peers.push_back(std::make_unique<Http2Peer>(fds[1], window, automatic_windows));
    return *peers.back();
  }
  void turn() {
    loop.turn(io::Instant::min());
    for (const auto& peer : peers) peer->pump();
  }
  bool until(const std::function<bool()>& done) {
    const auto give_up = std::chrono::steady_clock::now() + io::kTestPatience;
    while (!done()) {
      if (std::chrono::steady_clock::now() > give_up) {
        ADD_FAILURE() << "the awaited condition never came";
        return false;
      }
      turn();
    }
    return true;
  }
  void turns(int count) {
    for (int i = 0; i < count; ++i) turn();
  }
  PeerReply& get(Http2Peer& peer, const std::string& path) {
    const std::int32_t id = peer.request(Http2Peer::get(path));
    until([&] { return peer.replies[id].closed || peer.closed; });
    return peer.replies[id];
  }

  Clock clock;
  io::EventLoop loop;
  PathServer server;
  ServerConnection* last = nullptr;
  std::vector<std::unique_ptr<Http2Peer>> peers;
};

}  // namespace weir::http

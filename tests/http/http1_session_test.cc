#include "http/http1_session.h"

#include <gtest/gtest.h>

#include "http/chunked_decoder.h"
#include "tests/http/test_server.h"

namespace weir::http {
namespace {

std::string get(std::string_view path, std::string_view fields = "") {
  return "GET " + std::string(path) + " HTTP/1.1\r\nHost: h\r\n" + std::string(fields) + "\r\n";
}

std::string post(std::string_view path, std::string_view fields) {
  return "POST " + std::string(path) + " HTTP/1.1\r\nHost: h\r\n" + std::string(fields) + "\r\n";
}

std::string answer(std::string_view status, std::string_view fields, std::string_view body,
                   bool text = true) {
  std::string response = "HTTP/1.1 " + std::string(status) + "\r\nserver: weir\r\ndate: ";
  response.append(kTestDate).append("\r\n");
  if (text) response += "content-type: text/plain\r\n";
  return response.append(fields).append("\r\n").append(body);
}

const std::string kHello = answer("200 OK", "content-length: 6\r\n", "hello\n");
const std::string kHelloClose =
    answer("200 OK", "content-length: 6\r\nconnection: close\r\n", "hello\n");
const std::string kNothing = answer("204 No Content", "", "", false);

std::string refusal(std::string_view status, std::string_view body) {
  std::string response = "HTTP/1.1 " + std::string(status) + "\r\nserver: weir\r\ndate: ";
  response.append(kTestDate).append("\r\ncontent-type: text/plain; charset=utf-8\r\n");
  response += "content-length: " + std::to_string(body.size()) + "\r\nconnection: close\r\n\r\n";
  return response.append(body);
}

std::string unchunk(std::string_view coded) {
  ChunkedDecoder decoder;
  std::span<const std::uint8_t> input = bytes_of(coded);
  std::span<const std::uint8_t> data;
  std::string body;
  ChunkedDecoder::Status status = ChunkedDecoder::Status::data;
  while (status == ChunkedDecoder::Status::data) {
    status = decoder.decode(input, coded.size() + 1, data);
    body.append(reinterpret_cast<const char*>(data.data()), data.size());
  }
  EXPECT_EQ(status, ChunkedDecoder::Status::complete) << decoder.reason();
  EXPECT_TRUE(input.empty());
  return body;
}

class Http1SessionTest : public testing::Test {
 protected:
  Http1SessionTest() {
    server.handler.at("/hello", say_hello);
    server.handler.at("/echo", echo);
    server.handler.at("/count", count_body);
    server.handler.at("/refuse", refuse_early);
    server.handler.at("/wait", wait_for_go);
    server.handler.at("/abort", abort_midway);
    server.handler.at("/bulk", send_bulk);
    server.handler.at("/parts", send_bulk_parts);
  }
  bool run_until_event(std::string_view event) {
    return server.run_until([&] {
      for (const std::string& seen : server.handler.events) {
        if (seen == event) return true;
      }
      return false;
    });
  }
  bool run_until_closed() {
    return server.run_until([&] { return server.open() == 0; });
  }
  TestServer server;
};

TEST_F(Http1SessionTest, keeps_the_connection_for_further_requests) {
  TestClient client(server);
  client.expect_exchange(get("/hello"), kHello);
  client.expect_exchange(get("/other"), kNothing);
  client.expect_exchange(get("/hello"), kHello);
  EXPECT_EQ(server.open(), 1U);
}

TEST_F(Http1SessionTest, closes_when_the_client_asks_for_it) {
  TestClient client(server);
  EXPECT_TRUE(client.send(get("/hello", "Connection: close\r\n")));
  EXPECT_EQ(client.receive_until_end(), kHelloClose);
  EXPECT_FALSE(client.reset());
  EXPECT_TRUE(run_until_closed());
}

TEST_F(Http1SessionTest, answers_pipelined_requests_in_order) {
  TestClient client(server);
  client.expect_exchange(get("/hello") + get("/other") + get("/hello"), kHello + kNothing + kHello);
}

TEST_F(Http1SessionTest, answers_more_pipelined_requests_than_one_turn_serves) {
  TestClient client(server);
  std::string requests;
  std::string responses;
  for (int i = 0; i < 1000; ++i) {
    requests += get(i % 3 == 0 ? "/hello" : "/other");
    responses += i % 3 == 0 ? kHello : kNothing;
  }
  client.expect_exchange(requests, responses);
}

TEST_F(Http1SessionTest, closes_after_its_last_request_and_says_so) {
  TestClient client(server);
  std::string requests;
  for (std::uint32_t i = 0; i < kRequestsPerConnectionMax; ++i) requests += get("/hello");
  EXPECT_TRUE(client.send(requests));
  const std::size_t before = (kRequestsPerConnectionMax - 1) * kHello.size();
  EXPECT_FALSE(client.receive(before).contains("connection: close"));
  EXPECT_EQ(client.receive_until_end(), kHelloClose);
  EXPECT_FALSE(client.reset());
}

TEST_F(Http1SessionTest, starts_a_pipelined_request_only_after_the_one_before_it) {
  TestClient client(server);
  EXPECT_TRUE(client.send(get("/wait") + get("/hello")));
  EXPECT_TRUE(run_until_event("waiting"));
  server.run_turns(5);
  EXPECT_EQ(server.handler.running(), 1);
  server.handler.go.notify();
  EXPECT_EQ(client.receive(2 * kHello.size()), kHello + kHello);
}

TEST_F(Http1SessionTest, pauses_reading_when_too_much_is_pipelined) {
  TestClient client(server);
  EXPECT_TRUE(client.send(get("/wait")));
  EXPECT_TRUE(run_until_event("waiting"));
  std::string requests;
  std::string responses = kHello;
  while (requests.size() < 4 * kInboxBytesMax) {
    requests += get("/hello");
    responses += kHello;
  }
  EXPECT_TRUE(client.send(requests));
  EXPECT_TRUE(server.run_until([&] { return server.last().stream().reading_paused(); }));
  server.handler.go.notify();
  EXPECT_EQ(client.receive(responses.size()), responses);
  EXPECT_FALSE(server.last().stream().reading_paused());
}

TEST_F(Http1SessionTest, echoes_a_chunked_upload) {
  TestClient client(server);
  EXPECT_TRUE(client.send(post("/echo", "Transfer-Encoding: chunked\r\n")));
  const std::string head = answer("200 OK", "transfer-encoding: chunked\r\n", "");
  EXPECT_TRUE(client.send("5\r\nhello\r\n"));
  EXPECT_EQ(client.receive(head.size() + 10), head + "5\r\nhello\r\n");
  client.expect_exchange("10\r\n0123456789abcdef\r\n0\r\n\r\n",
                         "10\r\n0123456789abcdef\r\n0\r\n\r\n");
  client.expect_exchange(get("/hello"), kHello);
}

TEST_F(Http1SessionTest, receives_a_large_upload_and_a_request_behind_it) {
  TestClient client(server);
  const std::string body(1'000'000, 'x');
  client.expect_exchange(post("/count", "Content-Length: 1000000\r\n") + body + get("/hello"),
                         answer("200 OK", "content-length: 14\r\n", "1000000 bytes\n") + kHello);
}

TEST_F(Http1SessionTest, sends_bulk_intact_by_length_and_by_chunks) {
  TestClient client(server);
  const std::string head =
      answer("200 OK", "content-length: " + std::to_string(bulk().size()) + "\r\n", "");
  EXPECT_TRUE(client.send(get("/bulk")));
  EXPECT_EQ(client.receive(head.size()), head);
  EXPECT_TRUE(client.receive(bulk().size()) == bulk());
  EXPECT_TRUE(client.send(get("/parts", "Connection: close\r\n")));
  const std::string chunked_head =
      answer("200 OK", "transfer-encoding: chunked\r\nconnection: close\r\n", "");
  EXPECT_EQ(client.receive(chunked_head.size()), chunked_head);
  EXPECT_TRUE(unchunk(client.receive_until_end()) == bulk());
}

TEST_F(Http1SessionTest, asks_for_the_body_when_the_handler_first_reads_it) {
  TestClient client(server);
  client.expect_exchange(post("/count", "Content-Length: 3\r\nExpect: 100-continue\r\n"),
                         "HTTP/1.1 100 Continue\r\n\r\n");
  client.expect_exchange("abc", answer("200 OK", "content-length: 8\r\n", "3 bytes\n"));
  client.expect_exchange(get("/hello"), kHello);
}

TEST_F(Http1SessionTest, refuses_without_asking_for_the_body) {
  TestClient client(server);
  EXPECT_TRUE(client.send(post("/refuse", "Content-Length: 3\r\nExpect: 100-continue\r\n")));
  EXPECT_EQ(client.receive_until_end(),
            answer("413 Content Too Large", "content-length: 10\r\nconnection: close\r\n",
                   "too large\n"));
  EXPECT_FALSE(client.reset());
}

TEST_F(Http1SessionTest, lets_a_client_finish_a_refused_upload_and_read_why) {
  TestClient client(server);
  EXPECT_TRUE(client.send(post("/refuse", "Content-Length: 8000000\r\n")));
  EXPECT_TRUE(client.send(std::string(8'000'000, 'x')));
  EXPECT_EQ(client.receive_until_end(),
            answer("413 Content Too Large", "content-length: 10\r\nconnection: close\r\n",
                   "too large\n"));
  EXPECT_FALSE(client.reset());
}

TEST_F(Http1SessionTest, reuses_the_connection_after_dropping_a_small_unread_body) {
  TestClient client(server);
  const std::string refused =
      answer("413 Content Too Large", "content-length: 10\r\n", "too large\n");
  client.expect_exchange(post("/refuse", "Content-Length: 4\r\n"), refused);
  client.expect_exchange("GET " + get("/hello"), kHello);
  client.expect_exchange(post("/refuse", "Content-Length: 4\r\n") + "GET " + get("/hello"),
                         refused + kHello);
}

TEST_F(Http1SessionTest, keeps_a_connection_that_it_promised_to_keep_after_a_long_unread_body) {
  TestClient client(server);
  const std::string body(kDiscardBytesReuseMax + 1, 'x');
  client.expect_exchange(
      post("/hello", "Content-Length: " + std::to_string(body.size()) + "\r\n") + body, kHello);
  client.expect_exchange(get("/hello"), kHello);
}

TEST_F(Http1SessionTest, ends_a_refused_upload_that_never_stops) {
  TestClient client(server);
  EXPECT_TRUE(client.send(post("/refuse", "Transfer-Encoding: chunked\r\n") + "5\r\nhello\r\n"));
  const std::string refused =
      answer("413 Content Too Large", "content-length: 10\r\nconnection: close\r\n", "too large\n");
  EXPECT_EQ(client.receive(refused.size()), refused);
  EXPECT_TRUE(client.send("5\r\nhello\r\n"));
  server.run_turns(5);
  EXPECT_EQ(server.open(), 1U);
  server.advance(kDiscardTimeout + std::chrono::seconds(1));
  EXPECT_EQ(client.receive_until_end(), "");
  EXPECT_TRUE(run_until_closed());
}

TEST_F(Http1SessionTest, waits_for_a_refused_upload_that_is_slow_but_comes) {
  TestClient client(server);
  const std::size_t piece = kDiscardProgressBytesMin;
  EXPECT_TRUE(
      client.send(post("/refuse", "Content-Length: " + std::to_string(3 * piece) + "\r\n")));
  for (int pieces = 0; pieces < 3; ++pieces) {
    EXPECT_TRUE(client.send(std::string(piece, 'x')));
    server.run_turns(20);
    if (pieces == 2) break;
    for (const io::Duration by : {kDiscardTimeout, io::kLingerTimeout}) {
      server.advance(by + std::chrono::seconds(1));
      server.run_turns(5);
    }
    EXPECT_EQ(server.open(), 1U);
  }
  EXPECT_EQ(client.receive_until_end(),
            answer("413 Content Too Large", "content-length: 10\r\nconnection: close\r\n",
                   "too large\n"));
  EXPECT_FALSE(client.reset());
}

TEST_F(Http1SessionTest, answers_head_without_a_body) {
  TestClient client(server);
  const std::string head = "HEAD /hello HTTP/1.1\r\nHost: h\r\n\r\n";
  client.expect_exchange(head, answer("200 OK", "content-length: 6\r\n", ""));
  client.expect_exchange("HEAD /parts HTTP/1.1\r\nHost: h\r\n\r\n", answer("200 OK", "", ""));
  client.expect_exchange(get("/hello"), kHello);
}

TEST_F(Http1SessionTest, serves_http10) {
  TestClient client(server);
  client.expect_exchange(
      "GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
      answer("200 OK", "content-length: 6\r\nconnection: keep-alive\r\n", "hello\n"));
  EXPECT_TRUE(client.send("POST /echo HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc"));
  EXPECT_EQ(client.receive_until_end(), answer("200 OK", "connection: close\r\n", "abc"));
  EXPECT_FALSE(client.reset());
}

TEST_F(Http1SessionTest, says_what_is_wrong_with_a_malformed_request) {
  struct Example {
    std::string_view request;
    std::string response;
  };
  const Example kExamples[] = {
      {"GET / HTTP/1.1\r\n\r\n", refusal("400 Bad Request", "weir: the Host field is missing\n")},
      {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
       refusal("505 HTTP Version Not Supported",
               "weir: HTTP/2 is spoken here only when TLS ALPN chose it\n")},
      {"\x16\x03\x01", refusal("400 Bad Request", "weir: this is no HTTP request\n")},
      {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
       refusal("400 Bad Request", "weir: both Content-Length and Transfer-Encoding are given\n")},
  };
  for (const Example& example : kExamples) {
    server.handler.events.clear();
    TestClient client(server);
    client.expect_exchange(get("/hello"), kHello);
    EXPECT_TRUE(client.send(example.request));
    EXPECT_EQ(client.receive_until_end(), example.response);
    EXPECT_FALSE(client.reset());
    EXPECT_EQ(server.handler.events.size(), 1U);
  }
}

TEST_F(Http1SessionTest, asks_the_handler_for_the_limits_of_a_head) {
  const std::string fields = "A: " + std::string(40'000, 'a') + "\r\n";
  TestClient client(server);
  client.expect_exchange(get("/hg", fields), kNothing);
  EXPECT_TRUE(client.send(get("/hello", fields)));
  EXPECT_TRUE(client.receive_until_end().starts_with("HTTP/1.1 431 "));
}

TEST_F(Http1SessionTest, times_out_a_slow_head_from_its_first_byte) {
  TestClient client(server);
  EXPECT_TRUE(client.send("GET /hello HT"));
  server.run_until([&] { return server.last().stream().bytes_received() > 0; });
  server.run_turns(3);
  server.advance(kHeadTimeout - std::chrono::seconds(2));
  EXPECT_TRUE(client.send("TP/1.1\r\n"));
  server.run_turns(5);
  EXPECT_EQ(server.open(), 1U);
  server.advance(std::chrono::seconds(3));
  EXPECT_EQ(client.receive_until_end(),
            refusal("408 Request Timeout", "weir: the request head took too long\n"));
}

TEST_F(Http1SessionTest, closes_an_idle_connection_without_a_word) {
  TestClient client(server);
  client.expect_exchange(get("/hello"), kHello);
  server.advance(kIdleTimeoutHttp1 - std::chrono::seconds(2));
  server.run_turns(5);
  client.expect_exchange(get("/hello"), kHello);
  server.advance(kIdleTimeoutHttp1 + std::chrono::seconds(1));
  EXPECT_EQ(client.receive_until_end(), "");
  EXPECT_FALSE(client.reset());
}

TEST_F(Http1SessionTest, ends_an_upload_slower_than_the_minimum_rate) {
  TestClient client(server);
  EXPECT_TRUE(client.send(post("/count", "Content-Length: 100000\r\n") + "x"));
  server.run_until([&] { return server.handler.running() == 1; });
  server.run_turns(5);
  server.advance(kBodyGrace + std::chrono::seconds(1));  // the grace
  server.run_turns(5);
  EXPECT_EQ(server.handler.running(), 1);
  EXPECT_TRUE(client.send("y"));
  server.run_turns(5);
  server.advance(kBodyGrace + std::chrono::seconds(1));
  EXPECT_TRUE(run_until_event("body deadline exceeded"));
}

TEST_F(Http1SessionTest, answers_a_client_that_ended_its_side) {
  TestClient client(server);
  EXPECT_TRUE(client.send(get("/hello") + get("/wait")));
  client.shutdown_write();
  EXPECT_TRUE(run_until_event("waiting"));
  server.handler.go.notify();
  EXPECT_EQ(client.receive_until_end(), kHello + kHelloClose);
  EXPECT_FALSE(client.reset());
}

TEST_F(Http1SessionTest, counts_a_silent_half_closed_client_as_gone_soon) {
  TestClient client(server);
  EXPECT_TRUE(client.send(get("/wait")));
  EXPECT_TRUE(run_until_event("waiting"));
  client.shutdown_write();
  EXPECT_TRUE(run_until_event("gone"));
  EXPECT_TRUE(run_until_closed());
}

TEST_F(Http1SessionTest, tells_the_handler_that_the_client_left) {
  TestClient client(server);
  EXPECT_TRUE(client.send(get("/wait")));
  EXPECT_TRUE(run_until_event("waiting"));
  client.disconnect();
  EXPECT_TRUE(run_until_event("gone"));
  EXPECT_TRUE(run_until_closed());
}

TEST_F(Http1SessionTest, tells_the_handler_that_the_upload_was_cut) {
  TestClient client(server);
  EXPECT_TRUE(client.send(post("/count", "Content-Length: 10\r\n") + "abc"));
  server.run_until([&] { return server.handler.running() == 1; });
  client.disconnect();
  EXPECT_TRUE(run_until_event("body closed"));
  EXPECT_TRUE(run_until_closed());
}

TEST_F(Http1SessionTest, tells_the_handler_that_the_upload_is_malformed) {
  TestClient client(server);
  EXPECT_TRUE(client.send(post("/count", "Transfer-Encoding: chunked\r\n") + "3\r\nabcd\r\n"));
  EXPECT_EQ(client.receive_until_end(),
            answer("400 Bad Request", "content-length: 8\r\nconnection: close\r\n", "3 bytes\n"));
  EXPECT_EQ(server.handler.events.back(), "body protocol");
}

TEST_F(Http1SessionTest, cuts_an_aborted_response_before_its_end) {
  TestClient client(server);
  EXPECT_TRUE(client.send(get("/abort")));
  EXPECT_EQ(client.receive_until_end(),
            answer("200 OK", "transfer-encoding: chunked\r\n", "4\r\nsome\r\n"));
  EXPECT_TRUE(run_until_closed());
}

io::Task<void> promise_too_much(ScriptedHandler&, Exchange& exchange) {
  exchange.start_response(text_head(200, 10), {});
  const auto written = co_await exchange.write(bytes_of("short"));
  (void)written;
  exchange.finish();
  exchange.release();
}

io::Task<void> promise_too_little(ScriptedHandler& handler, Exchange& exchange) {
  exchange.start_response(text_head(200, 2), {});
  const auto written = co_await exchange.write(bytes_of("longer"));
  handler.events.push_back(written ? "written" : "refused");
  exchange.release();
}

TEST_F(Http1SessionTest, never_lets_a_wrong_length_pass_for_a_whole_answer) {
  server.handler.at("/much", promise_too_much);
  server.handler.at("/little", promise_too_little);
  TestClient much(server);
  EXPECT_TRUE(much.send(get("/much")));
  EXPECT_EQ(much.receive_until_end(), answer("200 OK", "content-length: 10\r\n", "short"));
  TestClient little(server);
  EXPECT_TRUE(little.send(get("/little")));
  EXPECT_FALSE(little.receive_until_end().contains("longer"));
  EXPECT_EQ(server.handler.events.back(), "refused");
}

TEST_F(Http1SessionTest, drains_connections_after_their_next_answer) {
  TestClient idle(server);
  idle.expect_exchange(get("/hello"), kHello);
  server.last().drain();
  server.run_turns(3);
  EXPECT_TRUE(idle.send(get("/hello")));
  EXPECT_EQ(idle.receive_until_end(), kHelloClose);
  TestClient busy(server);
  EXPECT_TRUE(busy.send(get("/wait")));
  EXPECT_TRUE(run_until_event("waiting"));
  server.last().drain();
  server.handler.go.notify();
  EXPECT_EQ(busy.receive_until_end(), kHelloClose);
  TestClient fresh(server);
  server.run_turns(3);
  server.last().drain();
  EXPECT_TRUE(fresh.send(get("/hello")));
  EXPECT_EQ(fresh.receive_until_end(), kHelloClose);
  EXPECT_FALSE(idle.reset() || busy.reset() || fresh.reset());
}

TEST_F(Http1SessionTest, lets_a_handler_end_while_the_client_never_reads) {
  TestClient client(server);
  EXPECT_TRUE(client.send(get("/bulk")));
  server.run_until([&] { return server.handler.running() == 1; });
  server.run_turns(20);
  client.disconnect();
  EXPECT_TRUE(server.run_until([&] { return server.handler.running() == 0; }));
  EXPECT_TRUE(run_until_closed());
}

}  // namespace
}  // namespace weir::http

#pragma once
// Http1Session: HTTP/1.0 and 1.1 on one server connection, one exchange at a time. Owned by its
// ServerConnection; loop thread only. Bounded: the body queue of the exchange, kInboxBytesMax (and
// one read) of bytes behind the current request; beyond them reading pauses. Malformed requests get
// a text/plain answer that says why and the connection ends. A request body that its handler left
// unread is read and dropped (up to kDiscardBytesMax) so that the client lives to see the answer.
// An aborted response cuts the connection. See tests/http/http1_session_test.cc.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "http/chunked_decoder.h"
#include "http/exchange.h"
#include "http/http1_parser.h"
#include "http/http1_response_head.h"
#include "http/session.h"
#include "io/timer_wheel.h"

namespace weir::http {

class ServerConnection;

inline constexpr std::size_t kInboxBytesMax = 16 * 1024;  // pipelined behind the current request
// Dropped after an early answer: clients that keep sending read the answer only afterwards.
inline constexpr std::uint64_t kDiscardBytesMax = 64 * 1024 * 1024;
// For so many bytes: whoever sends them slower is cut, with or without a look at the answer.
inline constexpr io::Duration kDiscardTimeout = std::chrono::seconds(30);
inline constexpr std::uint64_t kDiscardProgressBytesMin = 30 * 1024;
// An error promises to keep the connection when at most this much is to be dropped: more costs more
// than a handshake.
inline constexpr std::uint64_t kDiscardBytesReuseMax = 64 * 1024;
// A client that ended its side gets this long until its answer moves, then counts as gone: a killed
// client looks the same, and its work must stop within 250 ms.
inline constexpr io::Duration kHalfCloseGrace = std::chrono::milliseconds(200);
inline constexpr std::uint32_t kPipelinedPerTurnMax = 16;  // then other connections have their turn
inline constexpr std::size_t kInlineBytesMax =
    8 * 1024;  // written at once, not through a write turn

class Http1Session final : public Session {
 public:
  explicit Http1Session(ServerConnection& connection);
  ~Http1Session() override;

  void on_data(std::span<const std::uint8_t> bytes) override;
  void on_end_of_data() override;
  void on_write_turn(std::size_t bytes_max) override;
  void on_flushed() override {}
  void drain() override;
  void on_stream_closed() override;
  std::size_t exchanges() const override { return running_ ? 1 : 0; }

 private:
  enum class Phase : std::uint8_t {
    head,     // between requests or inside a head
    body,     // the request body goes to the exchange
    discard,  // the request body is dropped: the handler has let go
    wait,     // the request is complete; its response is not
    broken,   // the request body is malformed: input is ignored, the response may still be given
    closing,  // input is ignored, the stream is ending
  };
  class RequestExchange final : public Exchange {
   public:
    RequestExchange(Http1Session& session, io::Instant now);

   private:
    friend class Http1Session;
    void on_body_wanted() override { session_.pump(); }
    void on_output_ready() override { session_.output_ready(); }
    void on_abort() override { session_.aborted(); }
    void on_released() override { session_.released(); }
    void on_continue_wanted() override { session_.send_continue(); }
    Http1Session& session_;
  };
  struct PhaseTimer : io::Timer {
    Http1Session* session = nullptr;
  };

  // Input.
  void pump();
  void consume(std::span<const std::uint8_t>& input);
  bool step(std::span<const std::uint8_t>& input);
  bool step_head(std::span<const std::uint8_t>& input);
  bool step_body(std::span<const std::uint8_t>& input);
  void begin_exchange();
  void body_ended();
  void body_malformed();
  void after_input();
  void check_half_closed();

  // Output.
  void output_ready();
  void send(std::size_t bytes_max);
  void add_framing();
  void make_head();
  bool may_keep_alive() const;
  bool body_awaits_continue() const;
  std::span<const std::uint8_t> body_to_send();
  void body_taken(std::size_t bytes);
  void check_response_done();
  void send_continue();

  // The course of the connection.
  void released();
  void settle();
  void retire_exchange();
  void refuse(int status, std::string_view reason);
  void close();
  void aborted();
  void cut();
  void arm(io::Duration after);
  void expired();

  ServerConnection& connection_;
  Phase phase_ = Phase::head;
  bool running_ = false;  // the handler has the exchange
  bool consuming_ = false;
  bool draining_ = false;
  bool end_of_data_ = false;
  bool stream_closed_ = false;
  bool close_started_ = false;
  std::uint32_t requests_ = 0;
  std::uint32_t requests_this_turn_ = 0;
  std::optional<RequestExchange> exchange_;
  Http1Parser parser_;
  std::string inbox_;
  PhaseTimer timer_;
  std::uint64_t half_close_mark_ = 0;  // bytes sent when last looked

  // The request's body.
  ChunkedDecoder decoder_;
  bool chunked_in_ = false;
  bool continue_sent_ = false;
  std::uint64_t body_left_ = 0;
  std::uint64_t discarded_ = 0;
  std::uint64_t discard_mark_ = 0;  // discarded_ when the timer was last armed

  // The response.
  std::string pending_;  // framing bytes that go before the next body bytes
  BodyFraming framing_ = BodyFraming::none;
  bool head_made_ = false;
  bool response_done_ = true;
  bool close_after_ = false;
  bool chunk_open_ = false;
  bool last_chunk_made_ = false;
  std::uint64_t body_out_left_ = 0;  // of the chunk or of the content length

  // Capacity that outlives an exchange.
  std::string spare_storage_;
  std::vector<Field> spare_fields_;
};

}  // namespace weir::http

#include "io/stream.h"

#include <arpa/inet.h>
#include <linux/tcp.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "io/intrusive_list.h"
#include "io/metrics.h"
#include "io/proxy_protocol.h"
#include "io/stream_output.h"

namespace weir::io {
namespace {

// The kernel holds this much that it has not sent yet; more only grows its queues for slow readers.
constexpr int kNotSentBytesMax = 128 * 1024;
// While a send is in flight, writers are asked again only for at least a full record.
constexpr std::size_t kWriteRoomMin = kRecordPlaintextBytesMax;

constexpr std::string_view kPlainHttpAnswer =
    "HTTP/1.1 400 Bad Request\r\n"
    "Content-Type: text/plain; charset=utf-8\r\n"
    "Content-Length: 69\r\n"
    "Connection: close\r\n"
    "\r\n"
    "This is a TLS port: plain HTTP was sent to it. Use https:// instead.\n";
static_assert(kPlainHttpAnswer.size() - kPlainHttpAnswer.find("\r\n\r\n") - 4 == 69);

struct BegunHandshakes;  // tag

struct HandshakeLoad {
  std::size_t in_flight = 0;
  std::size_t queued = 0;  // waiting for their first step
};
thread_local HandshakeLoad handshake_load;

// At the bound the one that has waited longest for its peer gives way: peers that begin and then
// say nothing must not keep out those who do. Looked for among the oldest few.
constexpr int kGivingWayTries = 16;

// Where records are decrypted to: lent to the handler for one call, so one a thread is enough.
thread_local std::array<std::uint8_t, kRecordPlaintextBytesMax> plaintext;

struct HandshakeMetrics {
  static Counter count(std::string_view labels) {
    return Metrics::instance().counter("weir_tls_handshakes_total", labels,
                                       "TLS handshakes ended, by result.");
  }
  Counter full = count(R"(result="full")");
  Counter resumed = count(R"(result="resumed")");
  Counter failed = count(R"(result="failed")");
  Counter timed_out = count(R"(result="timeout")");
  Counter refused = count(R"(result="refused")");
  Gauge in_flight = Metrics::instance().gauge("weir_tls_handshakes_in_flight", "",
                                              "TLS handshakes begun and not ended.");

  static const HandshakeMetrics& instance() {
    static const HandshakeMetrics metrics;
    return metrics;
  }
};

void name_peer(int fd, StreamInfo& info) {
  sockaddr_storage storage{};
  socklen_t bytes = sizeof storage;
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&storage), &bytes) != 0) return;
  char text[INET6_ADDRSTRLEN];
  if (storage.ss_family == AF_INET) {
    const auto& address = reinterpret_cast<const sockaddr_in&>(storage);
    info.peer_address = inet_ntop(AF_INET, &address.sin_addr, text, sizeof text);
    info.peer_port = ntohs(address.sin_port);
  } else if (storage.ss_family == AF_INET6) {
    const auto& address = reinterpret_cast<const sockaddr_in6&>(storage);
    const bool mapped = IN6_IS_ADDR_V4MAPPED(&address.sin6_addr);
    info.peer_address = mapped
                            ? inet_ntop(AF_INET, &address.sin6_addr.s6_addr[12], text, sizeof text)
                            : inet_ntop(AF_INET6, &address.sin6_addr, text, sizeof text);
    info.peer_port = ntohs(address.sin6_port);
  }
}

// Fail on sockets that are not TCP, which need neither.
void set_tcp_options(int fd) {
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &kNotSentBytesMax, sizeof kNotSentBytesMax);
}

// Bytes the peer has acknowledged; 0 where the kernel does not say.
std::uint64_t acknowledged_bytes(int fd) {
  tcp_info info{};
  socklen_t bytes = sizeof info;
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &bytes) != 0) return 0;
  return info.tcpi_bytes_acked;
}

}  // namespace

const char* to_string(CloseReason reason) {
  switch (reason) {
    case CloseReason::peer_closed:
      return "peer closed";
    case CloseReason::local:
      return "closed by us";
    case CloseReason::reset:
      return "reset";
    case CloseReason::handshake_failed:
      return "handshake failed";
    case CloseReason::handshake_timeout:
      return "handshake timeout";
    case CloseReason::plain_http:
      return "plain HTTP on a TLS port";
    case CloseReason::no_progress:
      return "no progress";
  }
  return "unknown";
}

std::size_t handshakes_in_flight() {
  return handshake_load.in_flight;
}

struct Stream::Impl : HeavyWork, TurnEndWork, Timer, ListNode<BegunHandshakes> {
  // Of servers, oldest first.
  static IntrusiveList<Impl, BegunHandshakes>& begun() {
    static thread_local IntrusiveList<Impl, BegunHandshakes> list;
    return list;
  }

  explicit Impl(Stream& owner) : stream(owner) {
    HeavyWork::run = [](HeavyWork& work) { static_cast<Impl&>(work).stream.step_handshake(); };
    TurnEndWork::run = [](TurnEndWork& work) { static_cast<Impl&>(work).stream.at_turn_end(); };
    on_expire = [](Timer& timer) { static_cast<Impl&>(timer).stream.timer_expired(); };
  }

  Stream& stream;
  std::unique_ptr<TlsEngine> engine;
  StreamOutput output;
  std::vector<std::uint8_t> held;  // plain bytes not delivered yet, or the PROXY header so far
  CloseReason reason = CloseReason::local;
  WriteFlow flow;
  bool wants_write = false;  // as soon as there is room
  bool written = false;      // something since the last on_flushed()
  bool counted = false;      // in handshake_load.in_flight
  bool first_step = false;   // in handshake_load.queued
  bool deliver_later = false;
  bool input_blocked = false;     // the engine has records that must leave before it reads on
  bool peer_ended = false;        // end of data, by close_notify or by the transport
  bool peer_half_closed = false;  // the transport ended
  bool end_told = false;
  bool notify_sent = false;
  std::size_t dropped_bytes = 0;
  Instant progress_at{};
  std::uint64_t acknowledged_mark = 0;
};

Stream::Stream(EventLoop& loop, int fd, StreamHandler& handler, StreamOptions options)
    : loop_(loop),
      handler_(handler),
      options_(std::move(options)),
      socket_(loop, fd, *this),
      impl_(std::make_unique<Impl>(*this)) {}

Stream::~Stream() = default;

// --- ways in

void Stream::start() {
  WEIR_CHECK(phase_ == Phase::idle);
  set_tcp_options(socket_.fd());
  name_peer(socket_.fd(), info_);
  if (options_.tls != nullptr || options_.expect_proxy_v2) arm_timer(kHandshakeTimeout);
  if (!options_.expect_proxy_v2) return begin_transport({});
  phase_ = Phase::proxy;
  socket_.recv();
}

void Stream::proxy_bytes(std::span<const std::uint8_t> bytes) {
  impl_->held.insert(impl_->held.end(), bytes.begin(), bytes.end());
  ProxyHeader header;
  switch (parse_proxy_v2(impl_->held, header)) {
    case ProxyStatus::need_more:
      return socket_.recv();
    case ProxyStatus::refused:
      return close(CloseReason::handshake_failed);
    case ProxyStatus::complete:
      break;
  }
  if (!header.address.empty()) {
    info_.peer_address = std::move(header.address);
    info_.peer_port = header.port;
  }
  const std::vector<std::uint8_t> all = std::exchange(impl_->held, {});
  begin_transport(std::span(all).subspan(header.bytes));
}

// `bytes`: what came behind the PROXY header.
void Stream::begin_transport(std::span<const std::uint8_t> bytes) {
  if (options_.tls == nullptr) {
    phase_ = Phase::opening;
    impl_->held.assign(bytes.begin(), bytes.end());
    return loop_.at_turn_end(*impl_);
  }
  info_.tls = true;
  if (options_.role == TlsRole::client) return begin_handshake();
  phase_ = Phase::first_bytes;
  if (bytes.empty()) return socket_.recv();
  first_bytes(bytes);
}

void Stream::first_bytes(std::span<const std::uint8_t> bytes) {
  // No TLS record type is a letter; every HTTP method begins with one.
  if (bytes.front() >= 'A' && bytes.front() <= 'Z') return refuse_plain_http();
  const bool room =
      handshake_load.in_flight < options_.handshakes_in_flight_max || oldest_handshake_gives_way();
  if (!room || handshake_load.queued >= kHandshakesQueuedMax) {
    HandshakeMetrics::instance().refused.add();
    return close(CloseReason::handshake_failed);
  }
  begin_handshake();
  impl_->engine->feed(bytes);
  impl_->engine->stash_input();
}

bool Stream::oldest_handshake_gives_way() {
  Impl* next = Impl::begun().first();
  for (int i = 0; next != nullptr && i < kGivingWayTries; ++i) {
    Impl& oldest = *next;
    next = Impl::begun().next(oldest);
    if (static_cast<HeavyWork&>(oldest).linked()) continue;  // its peer has spoken: our turn
    HandshakeMetrics::instance().timed_out.add();
    oldest.stream.close(CloseReason::handshake_timeout);
    return true;
  }
  return false;
}

void Stream::refuse_plain_http() {
  impl_->output.write(
      {reinterpret_cast<const std::uint8_t*>(kPlainHttpAnswer.data()), kPlainHttpAnswer.size()});
  fail(CloseReason::plain_http);
}

void Stream::begin_handshake() {
  phase_ = Phase::handshake;
  impl_->engine = std::make_unique<TlsEngine>(*options_.tls, options_.role, options_.server_name);
  impl_->output.encrypt_with(impl_->engine.get());
  impl_->counted = true;
  ++handshake_load.in_flight;
  if (options_.role == TlsRole::server) Impl::begun().push_back(*impl_);
  HandshakeMetrics::instance().in_flight.add(1);
  impl_->first_step = true;
  ++handshake_load.queued;
  queue_handshake();
}

void Stream::queue_handshake() {
  if (!static_cast<HeavyWork&>(*impl_).linked()) loop_.heavy(*impl_);
}

void Stream::leave_handshake() {
  static_cast<HeavyWork&>(*impl_).unlink();
  static_cast<ListNode<BegunHandshakes>&>(*impl_).unlink();
  if (std::exchange(impl_->first_step, false)) --handshake_load.queued;
  if (!std::exchange(impl_->counted, false)) return;
  --handshake_load.in_flight;
  HandshakeMetrics::instance().in_flight.add(-1);
}

void Stream::step_handshake() {
  WEIR_CHECK(phase_ == Phase::handshake);
  if (std::exchange(impl_->first_step, false)) --handshake_load.queued;
  const TlsStatus status = impl_->engine->handshake(impl_->output.records());
  loop_.at_turn_end(*impl_);
  switch (status) {
    case TlsStatus::ok:
      return open();
    case TlsStatus::want_input:
      return socket_.recv();
    case TlsStatus::want_output_room:
      impl_->input_blocked = true;
      return;
    case TlsStatus::closed:
    case TlsStatus::failed:
      HandshakeMetrics::instance().failed.add();
      return fail(CloseReason::handshake_failed);
  }
}

void Stream::open() {
  if (impl_->engine != nullptr) {
    const TlsEngine& engine = *impl_->engine;
    info_.tls_resumed = engine.resumed();
    info_.tls_version = engine.version();
    info_.alpn = engine.alpn();
    info_.server_name = engine.server_name();
    const HandshakeMetrics& metrics = HandshakeMetrics::instance();
    (info_.tls_resumed ? metrics.resumed : metrics.full).add();
    leave_handshake();
  }
  loop_.timers().cancel(*impl_);
  phase_ = Phase::open;
  if (socket_.sending()) arm_timer(kStreamStallTimeout);  // the last flight of the handshake
  handler_.on_open(info_);
  deliver();
}

// --- input

void Stream::on_recv(std::span<const std::uint8_t> bytes) {
  bytes_received_ += bytes.size();
  if (bytes.empty()) return end_of_input();
  switch (phase_) {
    case Phase::proxy:
      return proxy_bytes(bytes);
    case Phase::first_bytes:
      return first_bytes(bytes);
    case Phase::handshake:
      impl_->engine->feed(bytes);
      impl_->engine->stash_input();
      return queue_handshake();
    case Phase::open:
      if (impl_->engine != nullptr) {
        impl_->engine->feed(bytes);
        deliver();
        return impl_->engine->stash_input();
      }
      if (reading_paused_ || !impl_->held.empty()) {
        impl_->held.insert(impl_->held.end(), bytes.begin(), bytes.end());
        return;
      }
      handler_.on_data(bytes);
      return receive_more();
    case Phase::finishing:
    case Phase::lingering:
      return drop_input(bytes.size());
    case Phase::idle:
    case Phase::opening:
    case Phase::closed:
      return;
  }
}

// Gives the handler what is here, unless it has paused; then asks for more.
void Stream::deliver() {
  if (phase_ == Phase::open && impl_->engine != nullptr) deliver_plaintext();
  if (phase_ == Phase::open && !reading_paused_ && !impl_->held.empty()) {
    const std::vector<std::uint8_t> held = std::exchange(impl_->held, {});
    handler_.on_data(held);
  }
  const bool all_given = !reading_paused_ && impl_->held.empty() && !impl_->input_blocked;
  if (phase_ == Phase::open && impl_->peer_ended && all_given && !impl_->end_told) {
    impl_->end_told = true;
    handler_.on_end_of_data();
  }
  receive_more();
}

void Stream::deliver_plaintext() {
  TlsEngine& engine = *impl_->engine;
  while (phase_ == Phase::open && !reading_paused_) {
    impl_->input_blocked = false;
    if (engine.read_exhausted()) return;
    // Reading makes records only in answer to rare ones: they wait in the engine, and no output
    // buffer is taken for them in advance.
    TlsOutput none{nullptr, 0, 0};
    impl_->output.seal();
    const TlsRead read = engine.read(plaintext, none);
    if (engine.output_waiting()) {
      impl_->input_blocked = true;
      loop_.at_turn_end(*impl_);
    }
    if (read.bytes > 0) {
      handler_.on_data(std::span(plaintext).first(read.bytes));
      if (impl_->input_blocked) return;
      continue;
    }
    if (read.status == TlsStatus::closed) impl_->peer_ended = true;
    if (read.status == TlsStatus::failed) fail(CloseReason::reset);
    return;
  }
}

void Stream::receive_more() {
  if (phase_ == Phase::open && !reading_paused_ && !impl_->peer_ended && !impl_->input_blocked &&
      impl_->held.empty()) {
    socket_.recv();
  }
}

void Stream::end_of_input() {
  impl_->peer_ended = impl_->peer_half_closed = true;
  switch (phase_) {
    case Phase::open:
      return deliver();
    case Phase::finishing:
      return;
    case Phase::lingering:
      return close(impl_->reason);
    default:
      // A port scan or a balancer's probe says nothing; that is no failure.
      return close(bytes_received_ == 0 ? CloseReason::peer_closed : CloseReason::handshake_failed);
  }
}

// After our last words the peer may go on for a while, so that it comes to read them.
void Stream::drop_input(std::size_t bytes) {
  impl_->dropped_bytes += bytes;
  if (impl_->dropped_bytes <= kLingerBytesMax) return socket_.recv();
  if (phase_ == Phase::lingering) close(impl_->reason);
}

void Stream::pause_reading() {
  reading_paused_ = true;
}

void Stream::resume_reading() {
  if (!std::exchange(reading_paused_, false) || phase_ != Phase::open) return;
  // Not from here: the caller may be inside on_data().
  impl_->deliver_later = true;
  loop_.at_turn_end(*impl_);
}

// --- output

std::size_t Stream::room() const {
  return phase_ == Phase::open ? impl_->output.room() : 0;
}

std::size_t Stream::write(std::span<const std::uint8_t> bytes) {
  if (phase_ != Phase::open) return 0;
  const std::size_t taken = impl_->output.write(bytes);
  if (taken == 0) return 0;
  impl_->written = true;
  if (!socket_.sending() && impl_->output.room() == 0) {
    flush();
  } else {
    loop_.at_turn_end(*impl_);
  }
  return taken;
}

std::size_t Stream::output_pending() const {
  return impl_->output.pending_bytes();
}

bool Stream::may_write() const {
  return !socket_.sending() || impl_->output.room() >= kWriteRoomMin;
}

void Stream::want_write(WriteFlow flow) {
  if (phase_ != Phase::open) return;
  impl_->flow = flow;
  impl_->wants_write = true;
  write_when_possible();
}

void Stream::write_when_possible() {
  if (!impl_->wants_write || !may_write()) return;
  impl_->wants_write = false;
  loop_.writes().ready(*this, impl_->flow);
}

std::size_t Stream::write_some(std::size_t bytes_max) {
  if (phase_ != Phase::open) return 0;
  if (room() == 0) flush();
  if (room() == 0) {  // others wrote since it was asked for
    impl_->wants_write = true;
    return 0;
  }
  const std::size_t before = impl_->output.pending_bytes();
  handler_.on_write_turn(bytes_max);
  const std::size_t after = impl_->output.pending_bytes();  // less when it aborted
  return after - std::min(after, before);
}

void Stream::flush() {
  if (phase_ == Phase::closed || socket_.sending()) return;
  const std::span<const std::uint8_t> bytes = impl_->output.begin_send();
  if (bytes.empty()) return;
  socket_.send(bytes);
  if (phase_ != Phase::open && phase_ != Phase::finishing) return;
  impl_->progress_at = loop_.now();
  if (impl_->armed()) return;
  impl_->acknowledged_mark = acknowledged_bytes(socket_.fd());
  arm_timer(kStreamStallTimeout);
}

void Stream::on_sent(std::size_t bytes) {
  bytes_sent_ += bytes;
  impl_->progress_at = loop_.now();
  impl_->output.end_send();
  flush();
  if (impl_->input_blocked && !socket_.sending()) {
    impl_->input_blocked = false;
    if (phase_ == Phase::handshake) return queue_handshake();
    deliver();
  }
  if (phase_ == Phase::finishing) return advance_finish();
  write_when_possible();
  if (phase_ != Phase::open || socket_.sending() || impl_->output.unsent()) return;
  if (std::exchange(impl_->written, false)) handler_.on_flushed();
}

void Stream::at_turn_end() {
  if (phase_ == Phase::opening) open();
  if (std::exchange(impl_->deliver_later, false)) deliver();
  if (phase_ == Phase::finishing) return advance_finish();
  flush();
}

// --- ways out

void Stream::close_gracefully() {
  if (phase_ < Phase::open) return abort();
  if (phase_ != Phase::open) return;
  impl_->reason = impl_->peer_ended ? CloseReason::peer_closed : CloseReason::local;
  phase_ = Phase::finishing;
  impl_->wants_write = false;
  WriteSource::unlink();
  impl_->held = {};
  if (!impl_->peer_half_closed) socket_.recv();
  loop_.at_turn_end(*impl_);
}

// Ends with what is in the output: an alert, or the answer to plain HTTP.
void Stream::fail(CloseReason reason) {
  if (phase_ == Phase::closed || phase_ == Phase::lingering) return;
  leave_handshake();
  impl_->reason = reason;
  impl_->notify_sent = true;
  phase_ = Phase::finishing;
  impl_->wants_write = false;
  WriteSource::unlink();
  impl_->held = {};
  loop_.timers().cancel(*impl_);
  if (socket_.sending()) arm_timer(kStreamStallTimeout);  // its peer may never read
  socket_.recv();
  loop_.at_turn_end(*impl_);
}

void Stream::advance_finish() {
  if (socket_.sending()) return;
  if (!std::exchange(impl_->notify_sent, true) && impl_->engine != nullptr) {
    impl_->engine->shutdown(impl_->output.records());
  }
  flush();
  if (!socket_.sending()) linger();
}

void Stream::linger() {
  impl_->output.drop_unsent();
  socket_.shutdown_write();
  if (impl_->peer_half_closed || impl_->dropped_bytes > kLingerBytesMax) {
    return close(impl_->reason);
  }
  phase_ = Phase::lingering;
  impl_->acknowledged_mark = acknowledged_bytes(socket_.fd());
  arm_timer(kLingerTimeout);
  socket_.recv();
}

void Stream::abort() {
  close(CloseReason::local);
}

void Stream::close(CloseReason reason) {
  if (phase_ == Phase::closed) return;
  leave_handshake();
  phase_ = Phase::closed;
  impl_->reason = reason;
  static_cast<TurnEndWork&>(*impl_).unlink();
  WriteSource::unlink();
  loop_.timers().cancel(*impl_);
  impl_->wants_write = false;
  impl_->output.drop_unsent();
  impl_->held = {};
  socket_.close();
}

void Stream::on_error(int) {
  close(phase_ == Phase::lingering ? impl_->reason : CloseReason::reset);
}

void Stream::on_closed() {
  impl_->output.end_send();
  impl_->output.encrypt_with(nullptr);
  impl_->engine.reset();
  handler_.on_closed(impl_->reason);
}

// --- timer: one for whatever is waited for

void Stream::arm_timer(Duration after) {
  loop_.timers().arm(*impl_, loop_.now() + after);
}

void Stream::timer_expired() {
  switch (phase_) {
    case Phase::proxy:
    case Phase::first_bytes:
    case Phase::handshake:
      if (info_.tls) HandshakeMetrics::instance().timed_out.add();
      return close(CloseReason::handshake_timeout);
    case Phase::lingering:
      return check_linger();
    default:
      return check_stall();
  }
}

// To close under bytes that come in, such as the window updates of a slow reader, would make the
// kernel drop those that are still to go out.
void Stream::check_linger() {
  const std::uint64_t acknowledged = acknowledged_bytes(socket_.fd());
  if (acknowledged == impl_->acknowledged_mark) return close(impl_->reason);
  impl_->acknowledged_mark = acknowledged;
  arm_timer(kLingerTimeout);
}

// A slow peer may take longer than the timeout for one send: what its kernel acknowledged counts.
void Stream::check_stall() {
  if (!socket_.sending()) return;
  if (loop_.now() - impl_->progress_at >= kStreamStallTimeout) {
    const std::uint64_t acknowledged = acknowledged_bytes(socket_.fd());
    if (acknowledged == impl_->acknowledged_mark) return close(CloseReason::no_progress);
    impl_->acknowledged_mark = acknowledged;
    impl_->progress_at = loop_.now();
  }
  loop_.timers().arm(*impl_, impl_->progress_at + kStreamStallTimeout);
}

}  // namespace weir::io

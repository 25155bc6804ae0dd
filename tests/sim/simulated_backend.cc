#include "tests/sim/simulated_backend.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

namespace weir::io {
namespace {

std::uint64_t digest_of(std::span<const std::uint8_t> bytes) {
  return std::hash<std::string_view>{}({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

}  // namespace

SimulatedFaults SimulatedFaults::none() {
  return {.wait_odds = 0,
          .delay_max = 0ns,
          .latency_max = 0ns,
          .pipe_bytes_max = ~std::size_t{0},
          .short_odds = 0,
          .short_send_odds = 0,
          .recv_buffers = 64,
          .defer_odds = 0,
          .race_odds = 0,
          .accept_fail_odds = 0};
}

SimulatedFaults SimulatedFaults::drawn(SeededRandom& random) {
  SimulatedFaults faults;
  faults.wait_odds = random.between(0, 4);
  if (faults.wait_odds == 1) faults.wait_odds = 2;
  faults.delay_max = random.duration_up_to(20ms);
  faults.latency_max = random.duration_up_to(200ms);
  faults.pipe_bytes_max = 1024 + random.up_to(512 * 1024);
  faults.piece_bytes_max = random.one_in(4) ? 64 + random.up_to(4096) : 0;
  faults.short_odds = random.between(0, 4);
  faults.short_send_odds = random.one_in(2) ? 0 : random.between(2, 50);
  faults.recv_buffers = static_cast<unsigned>(random.between(1, 6));
  faults.recv_buffer_bytes = random.one_in(2) ? kRecvBufferBytes : 512 + random.up_to(15872);
  faults.defer_odds = random.one_in(2) ? 0 : random.between(2, 40);
  faults.race_odds = random.between(0, 4);
  faults.accept_fail_odds = random.one_in(2) ? 0 : random.between(2, 10);
  return faults;
}

SimulatedBackend::SimulatedBackend(ManualClock& clock, std::uint64_t seed, SimulatedFaults faults)
    : clock_(clock), random_(seed), faults_(faults), buffers_(faults.recv_buffers) {
  for (Buffer& buffer : buffers_) buffer.bytes.resize(faults.recv_buffer_bytes);
}

SimulatedBackend::~SimulatedBackend() {
  WEIR_CHECK(flights_.empty());
}

// --- the world

int SimulatedBackend::open(Kind kind) {
  const int fd = ++last_fd_;
  Descriptor& made = sockets_[fd];
  made.kind = kind;
  if (kind == Kind::socket) made.latency = random_.duration_up_to(faults_.latency_max);
  return fd;
}

int SimulatedBackend::listener() {
  return open(Kind::listener);
}

std::pair<int, int> SimulatedBackend::socket_pair() {
  const int one = open(Kind::socket);
  const int other = open(Kind::socket);
  sockets_.at(one).peer = other;
  sockets_.at(other).peer = one;
  return {one, other};
}

int SimulatedBackend::connect_to(int listener_fd) {
  const auto [ours, theirs] = socket_pair();
  sockets_.at(listener_fd).accept_queue.push_back(theirs);
  return ours;
}

std::pair<int, int> SimulatedBackend::pipe() {
  const int reader = open(Kind::pipe);
  const int writer = open(Kind::pipe);
  sockets_.at(reader).peer = writer;
  sockets_.at(writer).peer = reader;
  return {reader, writer};
}

int SimulatedBackend::file(std::string content) {
  const int fd = open(Kind::file);
  sockets_.at(fd).content = std::move(content);
  return fd;
}

int SimulatedBackend::socket_of_nobody() {
  const int fd = open(Kind::socket);
  sockets_.at(fd).peer_is_nobody = true;
  return fd;
}

void SimulatedBackend::feed(int fd, std::span<const std::uint8_t> bytes) {
  transfer(sockets_.at(fd), bytes);
}

void SimulatedBackend::feed_end(int fd) {
  if (exists(fd)) end_inbound(sockets_.at(fd));
}

void SimulatedBackend::cut(int fd) {
  if (!exists(fd)) return;
  Descriptor& one = sockets_.at(fd);
  one.reset = true;
  if (one.peer >= 0) sockets_.at(one.peer).reset = true;
}

void SimulatedBackend::discard(int fd) {
  for (const Flight& flight : flights_) WEIR_CHECK(flight.op->fd != fd);
  if (exists(fd)) release(fd);
}

// A peer that closes with bytes unread resets; one that has read them all ends.
void SimulatedBackend::release(int fd) {
  Descriptor& closing = sockets_.at(fd);
  if (closing.peer >= 0) {
    Descriptor& peer = sockets_.at(closing.peer);
    peer.peer = -1;
    end_inbound(peer, closing.kind == Kind::socket && closing.inbound.bytes > 0);
  }
  for (const int waiting : closing.accept_queue) release(waiting);
  sockets_.erase(fd);
}

std::size_t SimulatedBackend::transfer(Descriptor& to, std::span<const std::uint8_t> bytes) {
  if (to.read_shut || to.inbound.ended) return bytes.size();
  const std::size_t room =
      faults_.pipe_bytes_max - std::min(faults_.pipe_bytes_max, to.inbound.bytes);
  bytes = bytes.first(std::min(bytes.size(), room));
  if (bytes.empty()) return 0;
  Inbound& inbound = to.inbound;
  inbound.last_at = std::max(inbound.last_at, clock_.now() + to.latency);
  inbound.segments.push_back({std::string(bytes.begin(), bytes.end()), 0, inbound.last_at});
  inbound.bytes += bytes.size();
  return bytes.size();
}

std::size_t SimulatedBackend::take(Inbound& from, std::span<std::uint8_t> into) {
  std::size_t taken = 0;
  while (taken < into.size() && !from.segments.empty() &&
         from.segments.front().visible_at <= clock_.now()) {
    Segment& segment = from.segments.front();
    const std::size_t bytes = std::min(into.size() - taken, segment.bytes.size() - segment.taken);
    std::memcpy(into.data() + taken, segment.bytes.data() + segment.taken, bytes);
    taken += bytes;
    segment.taken += bytes;
    if (segment.taken == segment.bytes.size()) from.segments.pop_front();
  }
  from.bytes -= taken;
  return taken;
}

// A reset, too, comes behind the bytes that were sent before it.
void SimulatedBackend::end_inbound(Descriptor& at, bool aborted) {
  if (at.inbound.ended && (!aborted || at.inbound.aborted)) return;
  at.inbound.ended = true;
  at.inbound.aborted = aborted;
  at.inbound.last_at = std::max(at.inbound.last_at, clock_.now() + at.latency);
  at.inbound.ended_at = at.inbound.last_at;
}

bool SimulatedBackend::is_reset(const Descriptor& at) const {
  return at.reset || (at.inbound.aborted && at.inbound.ended_at <= clock_.now());
}

void SimulatedBackend::shut_down(int fd, int how) {
  Descriptor& at = sockets_.at(fd);
  if (how != SHUT_RD && !std::exchange(at.write_shut, true) && at.peer >= 0) {
    end_inbound(sockets_.at(at.peer));
  }
  if (how != SHUT_WR) at.read_shut = true;
}

ssize_t SimulatedBackend::read_now(int fd, std::span<std::uint8_t> into) {
  WEIR_CHECK(exists(fd));
  Descriptor& at = sockets_.at(fd);
  const std::size_t bytes = take(at.inbound, into.first(some_of(into.size(), faults_.short_odds)));
  if (bytes > 0) return static_cast<ssize_t>(bytes);
  return at.inbound.ended && at.inbound.segments.empty() ? 0 : -EAGAIN;
}

ssize_t SimulatedBackend::write_now(int fd, std::span<const std::uint8_t> bytes) {
  WEIR_CHECK(exists(fd));
  const Descriptor& at = sockets_.at(fd);
  if (at.peer < 0) return -EPIPE;
  const std::size_t written =
      transfer(sockets_.at(at.peer), bytes.first(some_of(bytes.size(), faults_.short_odds)));
  return written > 0 ? static_cast<ssize_t>(written) : -EAGAIN;
}

std::size_t SimulatedBackend::buffers_lent() const {
  return static_cast<std::size_t>(std::ranges::count_if(buffers_, &Buffer::lent));
}

// --- submitting and cancelling

void SimulatedBackend::do_submit(Op& op) {
  WEIR_CHECK(exists(op.fd));  // a descriptor that somebody else may own by now
  Flight flight{.op = &op, .due = clock_.now() + random_.duration_up_to(faults_.delay_max)};
  if (op.kind == OpKind::send || op.kind == OpKind::write) flight.digest = digest_of(op.buffer);
  flight.deferred = random_.one_in(faults_.defer_odds);
  for (const Flight& other : flights_) {  // nothing overtakes in the queue
    if (!other.deferred) continue;
    flight.deferred = true;
    flight.due = std::max(flight.due, other.due);
  }
  if (flight.deferred) stats_.submits_deferred.fetch_add(1, std::memory_order_relaxed);
  flights_.push_back(flight);
}

void SimulatedBackend::cancel(Op& op) {
  if (!op.in_flight()) return;
  op.cancel_asked = true;
  for (Flight& flight : flights_) {
    if (flight.op != &op) continue;
    flight.cancelled = true;
    flight.due = clock_.now() + random_.duration_up_to(faults_.delay_max);
  }
}

void SimulatedBackend::give_back(std::uint16_t buffer_id) {
  WEIR_CHECK(buffer_id < buffers_.size() && buffers_[buffer_id].lent);
  Buffer& buffer = buffers_[buffer_id];
  buffer.lent = false;
  std::ranges::fill(buffer.bytes, std::uint8_t{0xdd});  // whoever still reads it shall notice
}

// --- waiting

std::optional<Instant> SimulatedBackend::readable_at(const Descriptor& at) const {
  if (at.reset || at.read_shut) return Instant::min();
  if (!at.inbound.segments.empty()) return at.inbound.segments.front().visible_at;
  if (at.inbound.ended) return at.inbound.ended_at;
  return std::nullopt;
}

// Or nobody to make it wait for.
bool SimulatedBackend::has_room_to_send(const Descriptor& at) const {
  if (at.peer < 0 || is_reset(at) || at.write_shut) return true;
  const Descriptor& peer = sockets_.at(at.peer);
  return peer.inbound.bytes < faults_.pipe_bytes_max || peer.read_shut;
}

// A recv that was parked is served before those that came later.
bool SimulatedBackend::admits(const Flight& flight) const {
  const std::size_t free = buffers_.size() - buffers_lent();
  if (!flight.parked) return free > 0;
  const auto earlier = std::ranges::count_if(flights_, [&](const Flight& other) {
    return other.parked && other.arrival < flight.arrival;
  });
  return static_cast<std::size_t>(earlier) < free;
}

std::optional<Instant> SimulatedBackend::possible_at(const Flight& flight) const {
  if (flight.cancelled || flight.deferred) return flight.due;
  const Op& op = *flight.op;
  const Descriptor& at = sockets_.at(op.fd);
  std::optional<Instant> when = Instant::min();
  switch (op.kind) {
    case OpKind::recv:
      when = readable_at(at);
      if (flight.parked && !admits(flight)) when = std::nullopt;
      break;
    case OpKind::read:
      if (at.kind != Kind::file) when = readable_at(at);
      break;
    case OpKind::poll:
      if ((op.poll_mask & POLLOUT) == 0) {
        when = readable_at(at);
      } else if (!has_room_to_send(at)) {
        when = std::nullopt;
      }
      break;
    case OpKind::accept:
      if (at.accept_queue.empty()) when = std::nullopt;
      break;
    case OpKind::send:
    case OpKind::write:
      if (!has_room_to_send(at)) when = std::nullopt;
      break;
    case OpKind::connect:
    case OpKind::close:
      break;
  }
  if (when) when = std::max(*when, flight.due);
  return when;
}

void SimulatedBackend::wait(std::optional<Instant> until, std::vector<CompletedOp>& out) {
  stuck_ = false;
  clock_.advance(Duration(static_cast<Duration::rep>(random_.between(500, 20'000))));
  while (true) {
    // In an order of chance; what ends leaves flights_.
    std::vector<Op*> order;
    for (const Flight& flight : flights_) {
      const std::optional<Instant> when = possible_at(flight);
      if (when && *when <= clock_.now()) order.push_back(flight.op);
    }
    const bool anything_possible = !order.empty();
    for (std::size_t left = order.size(); left > 0; --left) {
      std::swap(order[left - 1], order[random_.between(0, left - 1)]);
      if (random_.one_in(faults_.wait_odds)) continue;
      const auto found = std::ranges::find(flights_, order[left - 1], &Flight::op);
      if (attempt(*found, out)) flights_.erase(found);
    }
    if (!out.empty() || (until && *until <= clock_.now())) return;
    if (anything_possible) {
      clock_.advance(1us);
      continue;
    }
    std::optional<Instant> next = until;
    for (const Flight& flight : flights_) {
      const std::optional<Instant> when = possible_at(flight);
      if (when && (!next || *when < *next)) next = when;
    }
    if (!next) {
      stuck_ = true;
      return;
    }
    if (*next > clock_.now()) clock_.advance(*next - clock_.now());
  }
}

// True when the flight is over.
bool SimulatedBackend::attempt(Flight& flight, std::vector<CompletedOp>& out) {
  if (flight.deferred) {
    if (flight.cancelled) return end(flight, -ECANCELED, out), true;
    const auto first = std::ranges::find_if(flights_, &Flight::deferred);
    if (first->op == flight.op) flight.deferred = false;  // in order
    return false;
  }
  if (flight.cancelled && attempt_cancelled(flight, out)) return true;
  Descriptor& at = sockets_.at(flight.op->fd);
  switch (flight.op->kind) {
    case OpKind::recv:
      return attempt_recv(flight, at, out);
    case OpKind::send:
      return attempt_send(flight, at, out);
    case OpKind::accept:
      return attempt_accept(flight, at, out);
    case OpKind::read:
      return attempt_read(flight, at, out);
    case OpKind::write:
      return attempt_write(flight, at, out);
    case OpKind::poll:
      return attempt_poll(flight, at, out);
    case OpKind::connect:
      return end(flight, 0, out), true;
    case OpKind::close:
      close(*flight.op);
      return end(flight, 0, out), true;
  }
  return false;
}

// Loses the race against what could be done at the same moment.
bool SimulatedBackend::attempt_cancelled(Flight& flight, std::vector<CompletedOp>& out) {
  const Op& op = *flight.op;
  if (op.kind == OpKind::close) return false;
  flight.cancelled = false;
  const std::optional<Instant> possible = possible_at(flight);
  flight.cancelled = true;
  const bool could = possible && *possible <= clock_.now() && !flight.parked;
  if (could && random_.one_in(faults_.race_odds)) return false;
  end(flight, flight.moved > 0 ? static_cast<std::int32_t>(flight.moved) : -ECANCELED, out);
  return true;
}

bool SimulatedBackend::attempt_recv(Flight& flight, Descriptor& at, std::vector<CompletedOp>& out) {
  const std::optional<Instant> readable = readable_at(at);
  if (!readable || *readable > clock_.now()) {
    return flight.cancelled ? (end(flight, -ECANCELED, out), true) : false;
  }
  if (at.reset) return end(flight, at.read_shut ? 0 : -ECONNRESET, out), true;
  if (at.inbound.segments.empty() || at.inbound.segments.front().visible_at > clock_.now()) {
    return end(flight, at.inbound.aborted && !at.read_shut ? -ECONNRESET : 0, out), true;
  }
  if (!admits(flight)) {
    if (flight.cancelled) return end(flight, -ECANCELED, out), true;
    if (!std::exchange(flight.parked, true)) {
      flight.arrival = ++parkings_;
      stats_.recvs_parked.fetch_add(1, std::memory_order_relaxed);
      stats_.recvs_parked_total.fetch_add(1, std::memory_order_relaxed);
    }
    return false;
  }
  const auto buffer = std::ranges::find(buffers_, false, &Buffer::lent);
  buffer->lent = true;
  std::size_t bytes = buffer->bytes.size();
  if (faults_.piece_bytes_max > 0) bytes = std::min(bytes, faults_.piece_bytes_max);
  bytes = some_of(std::min(bytes, at.inbound.bytes), faults_.short_odds);
  bytes = take(at.inbound, std::span(buffer->bytes).first(bytes));
  give(flight,
       {.result = static_cast<std::int32_t>(bytes),
        .data = std::span(buffer->bytes).first(bytes),
        .buffer_id = static_cast<std::uint16_t>(buffer - buffers_.begin())},
       out);
  return true;
}

bool SimulatedBackend::attempt_send(Flight& flight, Descriptor& at, std::vector<CompletedOp>& out) {
  const Op& op = *flight.op;
  WEIR_CHECK(digest_of(op.buffer) == flight.digest);  // untouched until it completes
  const auto moved = [&] { return static_cast<std::int32_t>(flight.moved); };
  if (is_reset(at) || at.write_shut) {
    const bool told = at.write_shut || std::exchange(at.reset_told, true);
    return end(flight, flight.moved > 0 ? moved() : told ? -EPIPE : -ECONNRESET, out), true;
  }
  const std::span<const std::uint8_t> left = op.buffer.subspan(flight.moved);
  if (at.peer_is_nobody) return end(flight, static_cast<std::int32_t>(op.buffer.size()), out), true;
  if (at.peer < 0) {  // gone: its kernel answers with a reset, which comes later
    end_inbound(at, true);
    return end(flight, static_cast<std::int32_t>(op.buffer.size()), out), true;
  }
  flight.moved += transfer(sockets_.at(at.peer), left.first(some_of(left.size(), 3)));
  const bool cut_short = flight.moved > 0 && random_.one_in(faults_.short_send_odds);
  if (flight.moved == op.buffer.size() || cut_short || flight.cancelled) {
    return end(flight, flight.moved > 0 ? moved() : -ECANCELED, out), true;
  }
  return false;
}

bool SimulatedBackend::attempt_accept(Flight& flight, Descriptor& at,
                                      std::vector<CompletedOp>& out) {
  if (!flight.cancelled && random_.one_in(faults_.accept_fail_odds)) {
    constexpr std::int32_t kErrors[] = {-EMFILE, -ENFILE, -ENOBUFS, -ECONNABORTED};
    return end(flight, kErrors[random_.between(0, 3)], out), true;
  }
  while (!at.accept_queue.empty()) {
    const int fd = at.accept_queue.front();
    at.accept_queue.pop_front();
    give(flight, {.result = fd, .more = true}, out);
    if (random_.one_in(3)) break;
  }
  if (flight.cancelled) return end(flight, -ECANCELED, out), true;
  return false;
}

bool SimulatedBackend::attempt_read(Flight& flight, Descriptor& at, std::vector<CompletedOp>& out) {
  const Op& op = *flight.op;
  std::size_t bytes = 0;
  if (at.kind == Kind::file) {
    const std::size_t offset = std::min<std::size_t>(op.offset, at.content.size());
    bytes = some_of(std::min(op.buffer.size(), at.content.size() - offset), faults_.short_odds);
    std::memcpy(op.buffer.data(), at.content.data() + offset, bytes);
  } else {
    bytes = take(at.inbound, op.buffer.first(some_of(op.buffer.size(), faults_.short_odds)));
    const bool ended = at.inbound.ended && at.inbound.ended_at <= clock_.now();
    if (bytes == 0 && !ended) {
      return flight.cancelled ? (end(flight, -ECANCELED, out), true) : false;
    }
  }
  return end(flight, static_cast<std::int32_t>(bytes), out), true;
}

bool SimulatedBackend::attempt_write(Flight& flight, Descriptor& at,
                                     std::vector<CompletedOp>& out) {
  const Op& op = *flight.op;
  WEIR_CHECK(digest_of(op.buffer) == flight.digest);
  if (at.peer < 0) return end(flight, -EPIPE, out), true;
  const std::size_t bytes = transfer(
      sockets_.at(at.peer), op.buffer.first(some_of(op.buffer.size(), faults_.short_odds)));
  if (bytes == 0) return flight.cancelled ? (end(flight, -ECANCELED, out), true) : false;
  return end(flight, static_cast<std::int32_t>(bytes), out), true;
}

bool SimulatedBackend::attempt_poll(Flight& flight, Descriptor& at, std::vector<CompletedOp>& out) {
  const std::optional<Instant> readable = readable_at(at);
  const bool ready = readable && *readable <= clock_.now();
  const int now = (ready ? POLLIN : 0) | (has_room_to_send(at) ? POLLOUT : 0);
  const std::uint32_t found = flight.op->poll_mask & static_cast<std::uint32_t>(now);
  if (found == 0) return flight.cancelled ? (end(flight, -ECANCELED, out), true) : false;
  return end(flight, static_cast<std::int32_t>(found), out), true;
}

// Joined before closed: nothing else may be in flight on a descriptor that goes.
void SimulatedBackend::close(Op& op) {
  for (const Flight& other : flights_) WEIR_CHECK(other.op == &op || other.op->fd != op.fd);
  release(op.fd);
}

void SimulatedBackend::end(Flight& flight, std::int32_t result, std::vector<CompletedOp>& out) {
  give(flight, {.result = result}, out);
}

void SimulatedBackend::give(Flight& flight, const Completion& completion,
                            std::vector<CompletedOp>& out) {
  if (flight.parked) stats_.recvs_parked.fetch_sub(1, std::memory_order_relaxed);
  flight.parked = false;
  SeededRandom mixed(trace_ ^ static_cast<std::uint64_t>(completion.result));
  mixed = SeededRandom(mixed.next() ^ static_cast<std::uint64_t>(flight.op->fd));
  trace_ = mixed.next() ^ static_cast<std::uint64_t>(clock_.now().time_since_epoch().count());
  out.push_back({flight.op, completion});
}

// At least 1 of at least 1.
std::size_t SimulatedBackend::some_of(std::size_t bytes, std::uint64_t odds) {
  if (bytes < 2 || !random_.one_in(odds)) return bytes;
  return 1 + random_.up_to(bytes - 1);
}

}  // namespace weir::io

#pragma once
// SimulatedBackend: the event loop's operations without a kernel: sockets, listeners, pipes and
// files in memory, a manual clock that jumps to whatever happens next, and chance from a seed. It
// keeps the contract of io/backend.h and uses all of its freedom: short transfers, completions late
// and in any order, recvs parked for want of buffers, a full submission queue, cancels that lose
// their race, resets, half-closes, accepts that fail. Descriptors are numbers that the kernel does
// not know and are never used twice. What a caller may not do (close under an operation, use a
// closed descriptor, change bytes in flight) ends the run by WEIR_CHECK. One thread; owned by its
// EventLoop.

#include <deque>
#include <map>
#include <string>

#include "io/backend.h"
#include "tests/sim/seeded_random.h"

namespace weir::io {

// Odds are "one in"; 0 is never.
struct SimulatedFaults {
  std::uint64_t wait_odds = 4;         // that something possible is left for a later wait
  Duration delay_max = 2ms;            // of an operation, before it may complete
  Duration latency_max = 20ms;         // of bytes, one way
  std::size_t pipe_bytes_max = 65536;  // what a direction holds
  std::size_t piece_bytes_max = 0;     // one recv brings at most so much (0: a buffer's size)
  std::uint64_t short_odds = 3;        // that a recv, read or write moves less than it could
  std::uint64_t short_send_odds = 50;
  unsigned recv_buffers = 4;
  std::size_t recv_buffer_bytes = kRecvBufferBytes;
  std::uint64_t defer_odds = 20;  // that the submission queue is full
  std::uint64_t race_odds = 3;    // that a cancelled operation ends with what it could do
  std::uint64_t accept_fail_odds = 10;

  // Nothing is late, cut or refused.
  static SimulatedFaults none();
  static SimulatedFaults drawn(SeededRandom& random);
};

class SimulatedBackend final : public Backend {
 public:
  SimulatedBackend(ManualClock& clock, std::uint64_t seed, SimulatedFaults faults);
  ~SimulatedBackend() override;

  void cancel(Op& op) override;
  Result<void> start() override { return {}; }
  // With nothing to wait for (no limit, nothing on its way) it returns: see stuck().
  void wait(std::optional<Instant> until, std::vector<CompletedOp>& out) override;
  void wake() override {}
  void give_back(std::uint16_t buffer_id) override;
  void shut_down(int fd, int how) override;
  ssize_t read_now(int fd, std::span<std::uint8_t> into) override;
  ssize_t write_now(int fd, std::span<const std::uint8_t> bytes) override;
  const char* name() const override { return "simulated"; }
  std::string describe() const override { return "simulated"; }

  // --- the world
  int listener();
  // A connection attempt: the peer end waits to be accepted.
  int connect_to(int listener_fd);
  std::pair<int, int> socket_pair();
  // Read end, write end. A channel is two pipes in one: either end reads and writes.
  std::pair<int, int> pipe();
  std::pair<int, int> channel() { return pipe(); }
  int file(std::string content);
  // The network cuts the connection of `fd`.
  void cut(int fd);
  // A peer that is not simulated: what it sends, its end; it takes everything at once.
  int socket_of_nobody();
  void feed(int fd, std::span<const std::uint8_t> bytes);
  void feed_end(int fd);
  bool input_used_up(int fd) const {
    return !exists(fd) || sockets_.at(fd).inbound.segments.empty();
  }
  // Closes what no Op closes: listeners, files, ends that nobody took over.
  void discard(int fd);
  bool exists(int fd) const { return sockets_.contains(fd); }

  // --- for the invariants
  std::size_t ops_in_flight() const { return flights_.size(); }
  std::size_t buffers_lent() const;
  std::size_t descriptors() const { return sockets_.size(); }
  // The last wait() had no limit and nothing could ever end it.
  bool stuck() const { return stuck_; }
  // A digest of every completion so far: equal for equal runs.
  std::uint64_t trace() const { return trace_; }

 protected:
  void do_submit(Op& op) override;

 private:
  struct Segment {
    std::string bytes;
    std::size_t taken = 0;
    Instant visible_at;
  };
  struct Inbound {
    std::deque<Segment> segments;
    std::size_t bytes = 0;
    bool ended = false;
    bool aborted = false;  // the end is a reset
    Instant ended_at{};
    Instant last_at{};  // nothing overtakes
  };
  enum class Kind : std::uint8_t { socket, listener, pipe, file };
  struct Descriptor {
    Kind kind = Kind::socket;
    int peer = -1;  // -1: closed, or nobody
    bool peer_is_nobody = false;
    bool reset = false;  // cut by the network
    bool reset_told = false;
    bool read_shut = false;
    bool write_shut = false;
    Inbound inbound;
    std::deque<int> accept_queue;
    Duration latency{};
    std::string content;  // of a file
  };
  struct Flight {
    Op* op;
    Instant due;
    std::size_t moved = 0;
    std::uint64_t digest = 0;  // of the bytes to send
    bool cancelled = false;
    bool deferred = false;
    bool parked = false;
    std::uint64_t arrival = 0;  // order of parking
  };
  struct Buffer {
    std::vector<std::uint8_t> bytes;
    bool lent = false;
  };

  int open(Kind kind);
  bool attempt(Flight& flight, std::vector<CompletedOp>& out);
  bool attempt_cancelled(Flight& flight, std::vector<CompletedOp>& out);
  bool attempt_recv(Flight& flight, Descriptor& at, std::vector<CompletedOp>& out);
  bool attempt_send(Flight& flight, Descriptor& at, std::vector<CompletedOp>& out);
  bool attempt_accept(Flight& flight, Descriptor& at, std::vector<CompletedOp>& out);
  bool attempt_read(Flight& flight, Descriptor& at, std::vector<CompletedOp>& out);
  bool attempt_write(Flight& flight, Descriptor& at, std::vector<CompletedOp>& out);
  bool attempt_poll(Flight& flight, Descriptor& at, std::vector<CompletedOp>& out);
  void close(Op& op);
  void end(Flight& flight, std::int32_t result, std::vector<CompletedOp>& out);
  void give(Flight& flight, const Completion& completion, std::vector<CompletedOp>& out);
  std::size_t transfer(Descriptor& to, std::span<const std::uint8_t> bytes);
  std::size_t take(Inbound& from, std::span<std::uint8_t> into);
  void end_inbound(Descriptor& at, bool aborted = false);
  bool is_reset(const Descriptor& at) const;
  void release(int fd);
  std::size_t some_of(std::size_t bytes, std::uint64_t odds);
  // When it could next do something; nullopt: not before something else happens.
  std::optional<Instant> possible_at(const Flight& flight) const;
  std::optional<Instant> readable_at(const Descriptor& at) const;
  bool has_room_to_send(const Descriptor& at) const;
  bool admits(const Flight& flight) const;

  ManualClock& clock_;
  SeededRandom random_;
  const SimulatedFaults faults_;
  std::map<int, Descriptor> sockets_;
  std::deque<Flight> flights_;
  std::vector<Buffer> buffers_;
  std::uint64_t parkings_ = 0;
  int last_fd_ = 1 << 30;  // beyond any descriptor of the kernel
  bool stuck_ = false;
  std::uint64_t trace_ = 0;
};

}  // namespace weir::io

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>

#include <algorithm>
#include <deque>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/io/recording_op.h"
#include "tests/io/test_loop.h"

// The same script on both backends: what each operation brings, and in which step, must be the same
// byte for byte. A script is a seed: sockets, too few receive buffers, pipes, a file, a listener.
namespace weir::io {
namespace {

constexpr int kSteps = 300;
constexpr std::size_t kPairs = 5;
constexpr std::size_t kQueuedBytesMax =
    60'000;  // fits a socket: whether a send waits is not chance

// All of it, shorter: the script writes runs of one letter.
std::string runs_of(std::string_view bytes) {
  std::string text;
  while (!bytes.empty()) {
    const std::size_t end = std::min(bytes.find_first_not_of(bytes.front()), bytes.size());
    text += fmt::format(" {}x{}", bytes.front(), end);
    bytes.remove_prefix(end);
  }
  return text;
}

class Script {
 public:
  Script(BackendKind kind, unsigned seed)
      : test_({.recv_buffers = 4, .recv_buffer_bytes = 4096}, kind), random_(seed) {
    for (std::size_t i = 0; i < kPairs; ++i) open_pair();
    listen_fd_ = listening_socket(address_);
    nobody_ = address_;
    nobody_.sin_port = htons(1);
    file_ = ::memfd_create("weir-twins", MFD_CLOEXEC);
    const std::string text(10'000, 'f');
    EXPECT_EQ(::write(file_, text.data(), text.size()), static_cast<ssize_t>(text.size()));
    accept_ = &add("accept", OpKind::accept, listen_fd_);
    backend().submit(*accept_);
  }

  std::string play() {
    for (int step = 0; step < kSteps; ++step) {
      told_ += fmt::format("{}: ", step);
      act();
      settle();
    }
    told_ += "end: ";
    for (Named& op : ops_) backend().cancel(op);
    while (std::ranges::any_of(ops_, &Named::in_flight)) settle();
    for (const int fd : all_fds_) ::close(fd);
    ::close(listen_fd_);
    ::close(file_);
    return std::move(told_);
  }

 private:
  struct Named : RecordingOp {
    using RecordingOp::RecordingOp;
    std::string name;
    std::vector<std::uint8_t> bytes;
    Script* script = nullptr;
  };
  struct Pair {
    int ours, peers;
    std::size_t queued = 0;  // written by the peer, not received
    Named* recv;
    Named* send;
    Named* poll;
  };

  Backend& backend() { return test_.loop.backend(); }
  std::size_t pick(std::size_t below) { return random_() % below; }
  Named& add(std::string name, OpKind kind, int fd) {
    Named& op = ops_.emplace_back(kind, fd);
    op.name = std::move(name);
    op.script = this;
    op.on_complete = [](Op& self, const Completion& completion) {
      auto& named = static_cast<Named&>(self);
      named.script->tell(named, completion);
    };
    return op;
  }

  void open_pair() {
    const std::array<int, 2> fds = socket_pair();
    all_fds_.insert(all_fds_.end(), fds.begin(), fds.end());
    const std::string number = std::to_string(pairs_.size());
    pairs_.push_back({fds[0], fds[1], 0, &add("recv " + number, OpKind::recv, fds[0]),
                      &add("send " + number, OpKind::send, fds[0]),
                      &add("poll " + number, OpKind::poll, fds[0])});
  }

  void act() {
    Pair& pair = pairs_[pick(kPairs)];
    switch (pick(12)) {
      case 0:
      case 1:
      case 2:
        return submit(*pair.recv);
      case 3:
      case 4:
        return peer_writes(pair, 1 + pick(9000));
      case 5:
        return give_back();
      case 6:
        told_ += "cancel ";
        return backend().cancel(*(pick(2) == 0 ? pair.recv : pair.poll));
      case 7:
        return send(pair);
      case 8:
        if (pair.poll->in_flight()) return;
        pair.poll->poll_mask = pick(2) == 0 ? POLLIN : POLLIN | POLLOUT;
        return submit(*pair.poll);
      case 9:
        return read_file();
      case 10:
        return connect();
      case 11:
        if (pick(4) != 0) return;
        told_ += "peer ends ";
        ::shutdown(pair.peers, SHUT_WR);
        return;
    }
  }
  void submit(Named& op) {
    if (op.in_flight()) return;
    told_ += "submit " + op.name + ' ';
    backend().submit(op);
  }
  void peer_writes(Pair& pair, std::size_t bytes) {
    if (pair.queued + bytes > kQueuedBytesMax) return;
    const std::string text(bytes, static_cast<char>('a' + pick(26)));
    const ssize_t written = ::send(pair.peers, text.data(), bytes, MSG_NOSIGNAL);
    told_ += fmt::format("peer writes {} ", written);
    pair.queued += written > 0 ? bytes : 0;
  }
  void send(Pair& pair) {
    std::array<char, 65536> drained;
    const ssize_t got = ::recv(pair.peers, drained.data(), drained.size(), MSG_DONTWAIT);
    told_ += fmt::format("peer reads {} ", got);
    pair.send->bytes.assign(1 + pick(20'000), 's');
    pair.send->buffer = pair.send->bytes;
    submit(*pair.send);
  }
  void give_back() {
    if (lent_.empty()) return;
    told_ += "give back ";
    backend().give_back(lent_.front());
    lent_.erase(lent_.begin());
  }
  void read_file() {
    Named& op = add("file", OpKind::read, file_);
    op.bytes.resize(1 + pick(5000));
    op.buffer = op.bytes;
    op.offset = pick(12'000);
    submit(op);
  }
  void connect() {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    all_fds_.push_back(fd);
    Named& op = add("connect", OpKind::connect, fd);
    op.address = reinterpret_cast<sockaddr*>(pick(3) == 0 ? &nobody_ : &address_);
    op.address_bytes = sizeof address_;
    submit(op);
  }

  // Until nothing comes any more: all but reads of a file end within a turn of what causes them.
  void settle() {
    for (int quiet = 0; quiet < 3; ++quiet) {
      test_.loop.turn(Instant::min());
      if (std::exchange(completed_, false)) quiet = 0;
      if (std::ranges::any_of(ops_, &Script::comes_by_itself)) quiet = -1;
    }
    std::ranges::sort(others_);
    for (const std::string& line : others_) told_ += line;
    others_.clear();
    told_ += fmt::format("| parked {}\n", backend().stats().recvs_parked.load());
  }
  static bool comes_by_itself(const Named& op) {
    return op.in_flight() && (op.kind == OpKind::read || op.kind == OpKind::connect);
  }
  void tell(Named& op, const Completion& completion) {
    completed_ = true;
    if (op.kind == OpKind::accept && completion.result >= 0) {
      all_fds_.push_back(completion.result);
      others_.emplace_back("[accepted] ");
      return;
    }
    std::string bytes(completion.data.begin(), completion.data.end());
    if (op.kind == OpKind::read && completion.result > 0) {
      bytes.assign(op.bytes.begin(), op.bytes.begin() + completion.result);
    }
    std::string line = fmt::format("[{} = {}{}{}] ", op.name, completion.result,
                                   completion.more ? "+" : "", runs_of(bytes));
    // Receives compete for buffers, in order; all else has no order within a step.
    if (op.kind == OpKind::recv && completion.result != -ECANCELED) {
      told_ += line;
    } else {
      others_.push_back(std::move(line));
    }
    if (completion.buffer_id != kNoBuffer) lent_.push_back(completion.buffer_id);
    if (op.kind == OpKind::recv && completion.result > 0) {
      for (Pair& pair : pairs_) {
        if (pair.recv == &op) pair.queued -= static_cast<std::size_t>(completion.result);
      }
    }
  }

  std::deque<Named> ops_;  // outlives the loop
  TestLoop test_;
  std::mt19937 random_;
  std::vector<Pair> pairs_;
  std::vector<int> all_fds_;
  std::vector<std::uint16_t> lent_;  // in order
  sockaddr_in address_{};
  sockaddr_in nobody_{};  // a port where none listens
  int listen_fd_ = -1;
  int file_ = -1;
  Named* accept_ = nullptr;
  std::string told_;
  std::vector<std::string> others_;  // of this step
  bool completed_ = false;           // something, since it was last asked
};

TEST(BackendTwins, the_same_script_has_the_same_outcome_byte_for_byte) {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    const std::string uring = Script(BackendKind::io_uring, seed).play();
    const std::string epoll = Script(BackendKind::epoll, seed).play();
    if (uring == epoll) continue;
    const auto differ = std::ranges::mismatch(uring, epoll);
    const auto at = static_cast<std::size_t>(differ.in1 - uring.begin());
    const std::size_t from = uring.rfind('\n', at) + 1;
    ADD_FAILURE() << "seed " << seed << "\nio_uring: " << uring.substr(from, 200)
                  << "\nepoll:    " << epoll.substr(from, 200);
  }
}

// The script must come to what is hard: otherwise the comparison above proves little.
TEST(BackendTwins, the_script_comes_to_starvation_cancels_ends_and_refusals) {
  std::string told;
  for (unsigned seed = 1; seed <= 5; ++seed) told += Script(test_backend_kind(), seed).play();
  for (const char* each : {"| parked 1", "= -125", "[accepted]", "[connect = -111", "[connect = 0",
                           "= 4096 ", "[file = 0]", "= 0]"}) {
    EXPECT_NE(told.find(each), std::string::npos) << each;
  }
}

}  // namespace
}  // namespace weir::io

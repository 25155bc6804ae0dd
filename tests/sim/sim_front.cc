#include "tests/sim/sim_front.h"

namespace weir::sim {

SimFront::SimFront(io::EventLoop& loop, io::SimulatedBackend& backend, io::TlsContext& tls,
                   http::ExchangeHandler& handler)
    : loop_(loop),
      backend_(backend),
      tls_(tls),
      handler_(handler),
      plain_fd_(backend.listener()),
      tls_fd_(backend.listener()),
      loops_{&loop},
      plain_(loop, plain_fd_, loops_, [this](io::EventLoop&, int fd) { accept(fd, false); }),
      secure_(loop, tls_fd_, loops_, [this](io::EventLoop&, int fd) { accept(fd, true); }) {}

SimFront::~SimFront() {
  WEIR_CHECK(connections_.empty());
}

void SimFront::start() {
  plain_.start();
  secure_.start();
}

void SimFront::drain() {
  if (std::exchange(draining_, true)) return;
  // Whoever waits in their queues will not be accepted by anybody else.
  plain_.stop([this] { stopped(plain_fd_); });
  secure_.stop([this] { stopped(tls_fd_); });
  for (auto* each = connections_.first(); each != nullptr; each = connections_.next(*each)) {
    each->drain();
  }
}

void SimFront::stopped(int listener_fd) {
  ++stopped_listeners_;
  backend_.discard(listener_fd);
}

void SimFront::accept(int fd, bool tls) {
  io::StreamOptions options;
  if (tls) options.tls = &tls_;
  http::ConnectionRegistry& registry = *this;
  auto* connection = new http::ServerConnection(loop_, fd, ++last_id_, options, handler_, registry);
  connections_.push_back(*connection);
  ++connection_count_;
  connection->start();
  if (draining_) connection->drain();
}

void SimFront::on_connection_closed(http::ServerConnection&, io::CloseReason) {
  --connection_count_;
  loop_.load().fetch_sub(1);
}

}  // namespace weir::sim

#include "http/client_connection.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstring>

#include "http/client_session.h"

namespace weir::http {
namespace {

struct Address {
  sockaddr_storage storage{};
  socklen_t bytes = 0;
};

io::Result<Address> parse_address(const std::string& text) {
  Address address;
  if (text.starts_with("unix:")) {
    auto* local = reinterpret_cast<sockaddr_un*>(&address.storage);
    const std::string path = text.substr(5);
    if (path.empty() || path.size() >= sizeof local->sun_path) {
      return io::fail(io::Errc::invalid, "socket path");
    }
    local->sun_family = AF_UNIX;
    std::memcpy(local->sun_path, path.c_str(), path.size() + 1);
    address.bytes = sizeof(sockaddr_un);
    return address;
  }
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos) return io::fail(io::Errc::invalid, "address without port");
  std::uint16_t port = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data() + colon + 1, end, port);
  if (error != std::errc{} || rest != end) return io::fail(io::Errc::invalid, "port");
  std::string host = text.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) {
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
    host = host.substr(1, host.size() - 2);
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    address.bytes = sizeof(sockaddr_in6);
    if (inet_pton(AF_INET6, host.c_str(), &v6->sin6_addr) == 1) return address;
  } else {
    auto* v4 = reinterpret_cast<sockaddr_in*>(&address.storage);
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    address.bytes = sizeof(sockaddr_in);
    if (inet_pton(AF_INET, host.c_str(), &v4->sin_addr) == 1) return address;
  }
  return io::fail(io::Errc::invalid, "address is not numeric");
}

struct ConnectOp : io::Op {
  io::Signal done;
  std::int32_t result = 0;
};

io::Task<io::Result<void>> connect_socket(io::EventLoop& loop, int fd, const Address& address,
                                          io::Deadline deadline) {
  ConnectOp op;
  op.kind = io::OpKind::connect;
  op.fd = fd;
  op.address = reinterpret_cast<const sockaddr*>(&address.storage);
  op.address_bytes = address.bytes;
  op.on_complete = [](io::Op& self, const io::Completion& completion) {
    auto& connect = static_cast<ConnectOp&>(self);
    connect.result = completion.result;
    connect.done.notify();
  };
  loop.backend().submit(op);
  const io::Result<void> waited = co_await op.done.wait({}, deadline);
  if (!waited) loop.backend().cancel(op);
  while (op.in_flight()) {
    const io::Result<void> joined = co_await op.done.wait();
    (void)joined;
  }
  if (!waited) co_return std::unexpected(waited.error());
  if (op.result < 0) co_return io::fail(io::Errc::system, "connect", -op.result);
  co_return io::Result<void>{};
}

}  // namespace

// Lives until both its handle and its Stream have ended.
class ClientConnection::Impl final : io::StreamHandler {
 public:
  Impl(io::EventLoop& loop, int fd, ClientOptions options)
      : options_(std::move(options)),
        stream_(loop, fd, *this, {options_.tls, io::TlsRole::client, options_.server_name, false}) {
  }

  io::Stream& stream() { return stream_; }
  ClientSession* session() { return closed_ ? nullptr : session_.get(); }
  bool closed() const { return closed_; }
  io::CloseReason close_reason() const { return reason_; }
  io::Signal& changed() { return changed_; }
  void start() { stream_.start(); }

  // The handle is gone.
  void abandon() {
    if (closed_) {
      delete this;
      return;
    }
    abandoned_ = true;
    stream_.abort();
  }

 private:
  void on_open(const io::StreamInfo& info) override {
    const bool http2 = info.alpn == "h2" || (!info.tls && options_.http2_without_tls);
    session_ = http2 ? make_http2_client(stream_, options_.http2_window_bytes)
                     : make_http1_client(stream_);
    changed_.notify();
  }
  void on_data(std::span<const std::uint8_t> bytes) override { session_->on_data(bytes); }
  void on_end_of_data() override {
    if (session_ != nullptr) session_->on_end_of_data();
    stream_.close_gracefully();
  }
  void on_write_turn(std::size_t bytes_max) override { session_->on_write_turn(bytes_max); }
  void on_closed(io::CloseReason reason) override {
    closed_ = true;
    reason_ = reason;
    if (session_ != nullptr) session_->on_closed();
    if (abandoned_) {
      delete this;
      return;
    }
    changed_.notify();
  }

  ClientOptions options_;
  io::Stream stream_;
  std::unique_ptr<ClientSession> session_;
  io::Signal changed_;
  bool closed_ = false;
  bool abandoned_ = false;
  io::CloseReason reason_ = io::CloseReason::local;
};

ClientConnection::~ClientConnection() {
  impl_->abandon();
}

bool ClientConnection::usable() const {
  return impl_->session() != nullptr && impl_->session()->usable();
}

Version ClientConnection::version() const {
  return impl_->session() != nullptr ? impl_->session()->version() : Version::http11;
}

const io::StreamInfo& ClientConnection::peer() const {
  return impl_->stream().info();
}

io::Task<void> ClientConnection::close() {
  if (!impl_->closed()) impl_->stream().close_gracefully();
  while (!impl_->closed()) {
    const io::Result<void> changed = co_await impl_->changed().wait();
    (void)changed;
  }
}

io::Task<io::Result<ClientResponse>> ClientConnection::request(ClientRequest what,
                                                               io::Deadline deadline) {
  if (impl_->session() == nullptr) co_return io::fail(io::Errc::closed, "request");
  if (!usable()) co_return io::fail(io::Errc::unavailable, "request");
  const std::size_t collect_bytes_max = what.collect_bytes_max;
  auto call = std::make_shared<ClientCall>();
  call->request = std::move(what);
  ClientResponse response(call);  // cancels the call if we give up
  response.version = version();
  const io::Result<void> started = impl_->session()->start(call);
  if (!started) co_return std::unexpected(started.error());
  while (!call->head_done) {
    if (call->error) co_return std::unexpected(*call->error);
    const io::Result<void> changed = co_await call->changed.wait({}, deadline);
    if (!changed) co_return std::unexpected(changed.error());
  }
  response.status = call->status;
  response.headers = std::move(call->fields);
  if (collect_bytes_max > 0) {
    const io::Result<void> collected = co_await response.collect(collect_bytes_max, deadline);
    if (!collected) co_return std::unexpected(collected.error());
  }
  co_return std::move(response);
}

ClientResponse::ClientResponse(std::shared_ptr<ClientCall> call) : call_(std::move(call)) {}

ClientResponse& ClientResponse::operator=(ClientResponse&& other) noexcept {
  std::swap(status, other.status);
  std::swap(version, other.version);
  headers.swap(other.headers);
  body.swap(other.body);
  call_.swap(other.call_);
  return *this;
}

ClientResponse::~ClientResponse() {
  if (call_ != nullptr && call_->session != nullptr) call_->session->cancel(*call_);
}

std::optional<std::string_view> ClientResponse::header(std::string_view name) const {
  for (const auto& [field, value] : headers) {
    if (equals_ignoring_case(field, name)) return value;
  }
  return std::nullopt;
}

io::Task<io::Result<std::span<const std::uint8_t>>> ClientResponse::read_body(
    io::Deadline deadline) {
  ClientCall& call = *call_;
  while (call.queue.empty()) {
    if (call.ended) co_return std::span<const std::uint8_t>{};
    if (call.error) co_return std::unexpected(*call.error);
    const io::Result<void> changed = co_await call.changed.wait({}, deadline);
    if (!changed) co_return std::unexpected(changed.error());
  }
  call.current.clear();
  call.current.swap(call.queue);
  if (call.session != nullptr) call.session->consumed(call, call.current.size());
  co_return std::span(reinterpret_cast<const std::uint8_t*>(call.current.data()),
                      call.current.size());
}

io::Task<io::Result<void>> ClientResponse::collect(std::size_t bytes_max, io::Deadline deadline) {
  while (true) {
    const auto bytes = co_await read_body(deadline);
    if (!bytes) co_return std::unexpected(bytes.error());
    if (bytes->empty()) co_return io::Result<void>{};
    if (body.size() + bytes->size() > bytes_max) {
      co_return io::fail(io::Errc::limit, "collect response body");
    }
    body.append(reinterpret_cast<const char*>(bytes->data()), bytes->size());
  }
}

io::Task<io::Result<std::unique_ptr<ClientConnection>>> connect_client_fd(io::EventLoop& loop,
                                                                          int fd,
                                                                          ClientOptions options,
                                                                          io::Deadline deadline) {
  auto* impl = new ClientConnection::Impl(loop, fd, std::move(options));
  auto connection = std::make_unique<ClientConnection>(impl);
  impl->start();
  while (impl->session() == nullptr) {
    if (impl->closed()) co_return io::fail(io::Errc::closed, to_string(impl->close_reason()));
    const io::Result<void> changed = co_await impl->changed().wait({}, deadline);
    if (!changed) co_return std::unexpected(changed.error());
  }
  co_return std::move(connection);
}

io::Task<io::Result<std::unique_ptr<ClientConnection>>> connect_client(io::EventLoop& loop,
                                                                       std::string address,
                                                                       ClientOptions options,
                                                                       io::Deadline deadline) {
  const io::Result<Address> where = parse_address(address);
  if (!where) co_return std::unexpected(where.error());
  const int fd = socket(where->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) co_return io::fail_errno("socket");
  const int on = 1;
  if (where->storage.ss_family != AF_UNIX) {
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  const io::Result<void> connected = co_await connect_socket(loop, fd, *where, deadline);
  if (!connected) {
    ::close(fd);
    co_return std::unexpected(connected.error());
  }
  auto connection = co_await connect_client_fd(loop, fd, std::move(options), deadline);
  co_return std::move(connection);
}

}  // namespace weir::http

#include "server/admin_server.h"

#include <fmt/core.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

#include "io/byte_channel.h"
#include "io/log.h"
#include "io/metrics.h"
#include "server/version.h"

namespace weir::server {
namespace {

// Connections accepted on the UNIX socket carry this bit in their id: they may ask for /v1/*.
constexpr std::uint64_t kPrivateConnection = 1ULL << 63;

constexpr std::string_view kOpenMetrics =
    "application/openmetrics-text; version=1.0.0; charset=utf-8";
constexpr std::string_view kJson = "application/json";
constexpr std::string_view kText = "text/plain; charset=utf-8";

constexpr std::string_view kRepositories = "/v1/repositories/";
constexpr std::string_view kLayout = "/layout";

// Of "/v1/repositories/<tenant>/<path>/layout"; "" of anything else.
std::string_view layout_of(std::string_view path) {
  if (!path.starts_with(kRepositories) || !path.ends_with(kLayout)) return "";
  path.remove_prefix(kRepositories.size());
  return path.substr(0, path.size() - std::min(path.size(), kLayout.size()));
}

// A page of another origin must not reach this port through a name that its owner points here.
bool host_is_local(std::string_view authority) {
  if (authority.starts_with('[')) {
    return authority == "[::1]" || authority.starts_with("[::1]:");
  }
  const std::string_view host = authority.substr(0, authority.find(':'));
  return host == "localhost" || host == "127.0.0.1" || host == "weir";
}

struct Reply {
  int status = 200;
  std::string_view content_type = kText;
  std::string body;
};

io::Task<void> send(http::Exchange& exchange, Reply reply) {
  http::ResponseHead head;
  head.status = reply.status;
  head.fields.emplace_back("content-type", reply.content_type);
  head.fields.emplace_back("cache-control", "no-store");
  if (reply.status == 405) head.fields.emplace_back("allow", "GET, HEAD");
  head.content_length = reply.body.size();
  exchange.start_response(std::move(head), io::WriteFlow{});
  if (!reply.body.empty()) {
    const io::Result<void> written = co_await exchange.write(io::as_bytes(reply.body));
    if (!written) co_return;
  }
  exchange.finish();
}

void append_string(std::string& out, std::string_view name, std::string_view value) {
  out += '"';
  out += name;
  out += "\":\"";
  io::append_json_escaped(out, value);
  out += '"';
}

}  // namespace

AdminServer::AdminServer(std::unique_ptr<io::EventLoop> loop, int tcp_fd, int unix_fd,
                         AdminSources sources)
    : loop_(std::move(loop)), sources_(std::move(sources)), tcp_fd_(tcp_fd), unix_fd_(unix_fd) {
  loops_.push_back(loop_.get());
}

AdminServer::~AdminServer() {
  WEIR_CHECK(!thread_.joinable());
}

void AdminServer::start() {
  loop_->post([this] {  // before the thread, so that stop_and_join() comes after it
    if (tcp_fd_ >= 0) open(tcp_fd_, false);
    if (unix_fd_ >= 0) open(unix_fd_, true);
  });
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "weir-admin");
    const io::Result<void> ran = loop_->run();
    if (!ran) io::log_event(io::LogLevel::error, "admin loop: " + io::to_string(ran.error()));
  });
}

void AdminServer::open(int fd, bool is_private) {
  listeners_.push_back(std::make_unique<io::Listener>(
      *loop_, fd, loops_,
      [this, is_private](io::EventLoop&, int accepted) { adopt(accepted, is_private); }));
  listeners_.back()->start();
  ++listeners_open_;
}

void AdminServer::adopt(int fd, bool is_private) {
  Door& door = doors_[is_private ? 1 : 0];
  if (stopping_ || door.open >= 4 * kAdminConnectionsMax) {  // the oldest have yet to close
    loop_->load().fetch_sub(1, std::memory_order_relaxed);   // the listener counted it
    ::close(fd);
    return;
  }
  if (door.open >= kAdminConnectionsMax) {
    http::ServerConnection& oldest = *door.connections.first();
    oldest.unlink();
    door.connections.push_back(oldest);  // the next newcomer takes another's place
    oldest.abort();
  }
  const std::uint64_t id = ++next_connection_ | (is_private ? kPrivateConnection : 0);
  http::ExchangeHandler& handler = *this;
  http::ConnectionRegistry& registry = *this;
  auto connection = std::make_unique<http::ServerConnection>(*loop_, fd, id, io::StreamOptions{},
                                                             handler, registry);
  http::ServerConnection& opened = *connection.release();  // destroys itself when closed
  door.connections.push_back(opened);
  ++door.open;
  opened.start();
}

void AdminServer::stop_and_join() {
  loop_->post([this] {
    stopping_ = true;
    for (const std::unique_ptr<io::Listener>& listener : listeners_) {
      listener->stop([this] {
        --listeners_open_;
        finish_if_idle();
      });
    }
    for (Door& door : doors_) {
      http::ServerConnection* next = nullptr;
      for (http::ServerConnection* at = door.connections.first(); at != nullptr; at = next) {
        next = door.connections.next(*at);
        at->abort();
      }
    }
    finish_if_idle();
  });
  thread_.join();
}

void AdminServer::finish_if_idle() {
  const bool all_closed = doors_[0].open == 0 && doors_[1].open == 0;
  if (stopping_ && listeners_open_ == 0 && all_closed) loop_->stop();
}

void AdminServer::on_connection_closed(http::ServerConnection& connection, io::CloseReason) {
  connection.unlink();
  loop_->load().fetch_sub(1, std::memory_order_relaxed);
  --doors_[(connection.id() & kPrivateConnection) != 0 ? 1 : 0].open;
  finish_if_idle();
}

void AdminServer::on_exchange(http::Exchange& exchange) {
  scope_.spawn(serve(exchange));
}

http::HeadLimits AdminServer::head_limits(std::string_view, std::string_view) {
  return http::kHeadLimitsDefault;
}

void AdminServer::on_refused(const io::StreamInfo&, int, std::string_view) {}

io::Task<void> AdminServer::serve(http::Exchange& exchange) {
  const http::RequestHead& head = exchange.head();
  const bool is_private = (exchange.connection_id() & kPrivateConnection) != 0;
  Reply reply;
  if (!host_is_local(head.authority)) {
    reply.status = 421;
    reply.body = "weir: this port answers to localhost only\n";
  } else if (head.method != http::Method::get && head.method != http::Method::head) {
    reply.status = 405;
    reply.body = "weir: only GET is served here\n";
  } else if (head.path == "/healthz") {
    reply.body = health(reply.status);
  } else if (head.path == "/readyz") {
    const bool ready = sources_.ready();
    reply.status = ready ? 200 : 503;
    reply.body = ready ? "ready\n" : (sources_.draining() ? "draining\n" : "starting\n");
  } else if (head.path == "/metrics") {
    reply.content_type = kOpenMetrics;
    reply.body = io::Metrics::instance().render_openmetrics();
  } else if (head.path == "/v1/status" && is_private) {
    reply.content_type = kJson;
    reply.body = status_json();
  } else if (is_private && !layout_of(head.path).empty()) {
    const io::Result<std::string> told = co_await layout(std::string(layout_of(head.path)));
    reply.status = told ? 200 : told.error().code == io::Errc::not_found ? 404 : 503;
    reply.content_type = told ? kJson : kText;
    reply.body = told                  ? *told
                 : reply.status == 404 ? "weir: no git repository of that name\n"
                                       : "weir: the disk does not answer\n";
  } else if (head.path.starts_with("/v1/") && !is_private) {
    reply.status = 404;
    reply.body = "weir: /v1/* is served on the admin socket only\n";
  } else {
    reply.status = 404;
    reply.body =
        "weir: there are /healthz, /readyz, /metrics and, on the admin socket, "
        "/v1/status and /v1/repositories/<tenant>/<path>/layout\n";
  }
  co_await send(exchange, std::move(reply));
  exchange.release();
}

io::Task<io::Result<std::string>> AdminServer::layout(std::string name) {
  auto told = co_await sources_.blocking->run([this, &name] { return sources_.layout(name); });
  if (!told) co_return std::unexpected(told.error());
  co_return std::move(*told);
}

std::string AdminServer::health(int& status) const {
  const std::int64_t now = loop_->clock().now().time_since_epoch().count();
  std::string problems;
  int index = 0;
  for (const LoopStatus& loop : sources_.loops()) {
    if (now - loop.heartbeat_ns > kLoopStalledAfter.count()) {
      problems += fmt::format("loop {} shows no sign of life since {} ms\n", index,
                              (now - loop.heartbeat_ns) / 1'000'000);
    }
    ++index;
  }
  status = problems.empty() ? 200 : 503;
  return problems.empty() ? "ok\n" : problems;
}

std::string AdminServer::status_json() const {
  const io::Instant now = loop_->clock().now();
  const std::int64_t unix_ns = loop_->clock().unix_ns();
  std::string out = "{";
  append_string(out, "version", version());
  out += fmt::format(",\"pid\":{},\"serving_pid\":{},\"uptime_s\":{:.3f},\"serving_generation\":{}",
                     getppid(), getpid(),
                     static_cast<double>(unix_ns - sources_.started_unix_ns) / 1e9,
                     sources_.serving_generation);
  out += sources_.draining() ? ",\"state\":\"draining\""
         : sources_.ready()  ? ",\"state\":\"ready\""
                             : ",\"state\":\"starting\"";
  out += ',';
  append_string(out, "io", sources_.io_backend);
  out += ",\"confinement\":{";
  for (const ConfinementPart& part : sources_.confinement) {
    out += fmt::format("{}\"{}\":{}", out.ends_with('{') ? "" : ",", part.name, part.value);
  }
  out += '}';
  out += ",\"addresses\":[";
  for (std::size_t i = 0; i < sources_.addresses.size(); ++i) {
    out += i == 0 ? "\"" : ",\"";
    io::append_json_escaped(out, sources_.addresses[i]);
    out += '"';
  }
  out += "],\"loops\":[";
  bool first = true;
  std::int64_t connections = 0;
  for (const LoopStatus& loop : sources_.loops()) {
    out +=
        fmt::format("{}{{\"connections\":{},\"silent_ms\":{}}}", first ? "" : ",", loop.connections,
                    (now.time_since_epoch().count() - loop.heartbeat_ns) / 1'000'000);
    connections += loop.connections;
    first = false;
  }
  const std::vector<LiveRequestRow> requests = sources_.requests(now);
  out += fmt::format("],\"connections\":{},\"requests_in_flight\":{},\"requests\":[", connections,
                     requests.size());
  first = true;
  for (const LiveRequestRow& row : requests) {
    out += first ? "{" : ",{";
    first = false;
    append_string(out, "id", row.id);
    out += fmt::format(",\"age_ms\":{},", row.age.count() / 1'000'000);
    append_string(out, "tenant", row.tenant);
    out += ',';
    append_string(out, "repository", row.repository);
    out += ',';
    append_string(out, "operation", row.operation);
    out += ',';
    append_string(out, "principal", row.principal);
    out += fmt::format(",\"bytes_in\":{},\"bytes_out\":{}}}", row.bytes_in, row.bytes_out);
  }
  out += "]}\n";
  return out;
}

}  // namespace weir::server

#include "server/listen_sockets.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>

#include "io/check.h"
#include "io/error.h"
#include "io/unique_fd.h"

namespace weir::server {
namespace {

using Failure = std::unexpected<std::string>;

constexpr int kFirstPassedFd = 3;  // SD_LISTEN_FDS_START

struct HostAndPort {
  std::string host;  // empty: every address
  std::string port;
};

std::expected<HostAndPort, std::string> split_address(const std::string& text) {
  const auto refuse = [&](const char* why) {
    return Failure(
        fmt::format("listen address \"{}\": {} (expected host:port, e.g. "
                    "\"127.0.0.1:8443\", \"[::1]:8443\", \"*:443\")",
                    text, why));
  };
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos) return refuse("no port");
  HostAndPort parts{text.substr(0, colon), text.substr(colon + 1)};
  unsigned port = 0;
  const char* const port_end = parts.port.data() + parts.port.size();
  const auto parsed = std::from_chars(parts.port.data(), port_end, port);
  if (parsed.ec != std::errc() || parsed.ptr != port_end || port > 65535) {
    return refuse("the port is not a number from 0 to 65535");
  }
  if (parts.host.starts_with('[')) {
    if (!parts.host.ends_with(']') || parts.host.size() < 3) return refuse("unbalanced brackets");
    parts.host = parts.host.substr(1, parts.host.size() - 2);
  } else if (parts.host.find(':') != std::string::npos) {
    return refuse("an IPv6 address stands in brackets");
  }
  if (parts.host == "*") parts.host.clear();
  return parts;
}

std::string address_text(const sockaddr_storage& address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
    inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
    return fmt::format("[{}]:{}", text, ntohs(v6.sin6_port));
  }
  const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
  inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
  return fmt::format("{}:{}", text, ntohs(v4.sin_port));
}

std::string bound_address(int fd) {
  sockaddr_storage address = {};
  socklen_t bytes = sizeof address;
  WEIR_CHECK(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &bytes) == 0);
  return address_text(address);
}

bool set_option(int fd, int level, int option, int value) {
  return setsockopt(fd, level, option, &value, sizeof value) == 0;
}

// One TCP socket; `shared`: others of ours may listen on the same address.
io::Result<io::UniqueFd> bind_tcp(const sockaddr_storage& address, socklen_t bytes, bool shared,
                                  bool both_families) {
  io::UniqueFd fd(socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return io::fail_errno("socket");
  if (!set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1) ||
      (shared && !set_option(fd.get(), SOL_SOCKET, SO_REUSEPORT, 1))) {
    return io::fail_errno("setsockopt");
  }
  if (address.ss_family == AF_INET6) {
    set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, both_families ? 0 : 1);
  }
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), bytes) != 0) {
    return io::fail_errno("bind");
  }
  return fd;
}

void set_port(sockaddr_storage& address, in_port_t port) {
  if (address.ss_family == AF_INET6) {
    reinterpret_cast<sockaddr_in6&>(address).sin6_port = port;
  } else {
    reinterpret_cast<sockaddr_in&>(address).sin_port = port;
  }
}

in_port_t port_of(const sockaddr_storage& address) {
  return address.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6&>(address).sin6_port
                                       : reinterpret_cast<const sockaddr_in&>(address).sin_port;
}

// `count` listening sockets on one resolved address.
io::Result<std::vector<io::UniqueFd>> listen_group(sockaddr_storage address, socklen_t bytes,
                                                   int count, bool both_families) {
  // SO_REUSEPORT would quietly share the port with another server of the same user: ask without it.
  if (port_of(address) != 0) {
    const auto probe = bind_tcp(address, bytes, false, both_families);
    if (!probe) return std::unexpected(probe.error());
    if (listen(probe->get(), 1) != 0) return io::fail_errno("listen");
  }
  std::vector<io::UniqueFd> group;
  for (int i = 0; i < count; ++i) {
    auto fd = bind_tcp(address, bytes, count > 1, both_families);
    if (!fd) return std::unexpected(fd.error());
    if (listen(fd->get(), kListenBacklog) != 0) return io::fail_errno("listen");
    sockaddr_storage bound = {};
    socklen_t bound_bytes = sizeof bound;
    WEIR_CHECK(getsockname(fd->get(), reinterpret_cast<sockaddr*>(&bound), &bound_bytes) == 0);
    set_port(address, port_of(bound));  // port 0: the others share what the first was given
    group.push_back(std::move(*fd));
  }
  return group;
}

struct Group {
  std::string address;
  std::vector<io::UniqueFd> fds;
};

// Every address that `text` stands for: "localhost" may be two.
std::expected<std::vector<Group>, std::string> listen_tcp(const std::string& text, int count) {
  const std::expected<HostAndPort, std::string> parts = split_address(text);
  if (!parts) return Failure(parts.error());
  addrinfo hints = {};
  hints.ai_family = parts->host.empty() ? AF_INET6 : AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* first = nullptr;
  const int resolved = getaddrinfo(parts->host.empty() ? nullptr : parts->host.c_str(),
                                   parts->port.c_str(), &hints, &first);
  if (resolved != 0) {
    return Failure(fmt::format("listen address \"{}\": {}", text, gai_strerror(resolved)));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(first, &freeaddrinfo);

  std::vector<Group> groups;
  std::string reason;
  in_port_t port = 0;  // with port 0 the second address of a name gets the port of the first
  for (const addrinfo* info = first; info != nullptr; info = info->ai_next) {
    sockaddr_storage address = {};
    std::memcpy(&address, info->ai_addr, info->ai_addrlen);
    if (port_of(address) == 0) set_port(address, port);
    auto fds = listen_group(address, info->ai_addrlen, count, parts->host.empty());
    const bool no_v6 =
        !fds && (fds.error().sys_errno == EAFNOSUPPORT || fds.error().sys_errno == EADDRNOTAVAIL);
    if (no_v6 && parts->host.empty()) {
      sockaddr_in v4 = {};
      v4.sin_family = AF_INET;
      v4.sin_port = port_of(address);
      std::memcpy(&address, &v4, sizeof v4);
      fds = listen_group(address, sizeof v4, count, false);
    }
    if (!fds) {
      const int error = fds.error().sys_errno;
      reason = fmt::format("cannot listen on {}{}: {}", address_text(address),
                           text == address_text(address) ? "" : fmt::format(" (\"{}\")", text),
                           strerror(error));
      if (error == EADDRINUSE) reason += " (is another server running there?)";
      if (error == EACCES) reason += " (ports below 1024 need CAP_NET_BIND_SERVICE)";
      // A machine without IPv6 still serves "localhost".
      if (error == EADDRNOTAVAIL || error == EAFNOSUPPORT) continue;
      return Failure(reason);
    }
    groups.push_back({bound_address(fds->front().get()), std::move(*fds)});
    sockaddr_storage bound = {};
    socklen_t bytes = sizeof bound;
    getsockname(groups.back().fds.front().get(), reinterpret_cast<sockaddr*>(&bound), &bytes);
    port = port_of(bound);
  }
  if (groups.empty()) return Failure(reason);
  return groups;
}

std::expected<io::UniqueFd, std::string> listen_unix(const std::string& path) {
  const auto refuse = [&](const char* what) {
    return Failure(fmt::format("admin socket \"{}\": {}: {}", path, what, strerror(errno)));
  };
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return Failure(
        fmt::format("admin socket \"{}\": the path has {} bytes, at most {} are possible", path,
                    path.size(), sizeof address.sun_path - 1));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  const auto* as_sockaddr = reinterpret_cast<const sockaddr*>(&address);
  io::UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return refuse("socket");
  // A socket file that nobody listens on is what a killed predecessor left.
  struct stat status = {};
  if (lstat(path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode)) {
    const io::UniqueFd probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (connect(probe.get(), as_sockaddr, sizeof address) == 0 || errno == EAGAIN) {
      errno = EADDRINUSE;
      return refuse("another server listens there");
    }
    if (errno == ECONNREFUSED && unlink(path.c_str()) != 0) return refuse("unlink");
  }
  const mode_t mask = umask(0177);
  const int bound = bind(fd.get(), as_sockaddr, sizeof address);
  umask(mask);
  if (bound != 0) return refuse("bind");
  if (listen(fd.get(), 64) != 0) return refuse("listen");
  return fd;
}

// What systemd passed to this very process; the variables are removed, children are not meant.
struct Passed {
  std::vector<int> serving;
  int admin_tcp = -1;
  int admin_unix = -1;
};

std::expected<Passed, std::string> take_passed_sockets() {
  Passed passed;
  const char* pid = getenv("LISTEN_PID");
  const char* count_text = getenv("LISTEN_FDS");
  if (pid == nullptr || count_text == nullptr || fmt::format("{}", getpid()) != pid) return passed;
  const std::string names = getenv("LISTEN_FDNAMES") != nullptr ? getenv("LISTEN_FDNAMES") : "";
  const int count = atoi(count_text);
  for (const char* name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) unsetenv(name);
  if (count < 0 || static_cast<std::size_t>(count) > kListenAddressesMax) {
    return Failure(fmt::format("LISTEN_FDS: {} sockets passed, at most {} are possible", count,
                               kListenAddressesMax));
  }
  std::string_view rest = names;
  for (int fd = kFirstPassedFd; fd < kFirstPassedFd + count; ++fd) {
    const std::string_view name = rest.substr(0, rest.find(':'));
    rest.remove_prefix(std::min(rest.size(), name.size() + 1));
    int listening = 0, family = 0;
    socklen_t bytes = sizeof listening;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &bytes) != 0 || listening == 0 ||
        getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &bytes) != 0) {
      return Failure(
          fmt::format("LISTEN_FDS: descriptor {} (\"{}\") is no listening socket", fd, name));
    }
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    // Like our own ones: a non-blocking listening socket would make the ring's accepts fail at
    // once.
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    if (name == "admin") {
      (family == AF_UNIX ? passed.admin_unix : passed.admin_tcp) = fd;
    } else if (family == AF_INET || family == AF_INET6) {
      passed.serving.push_back(fd);
    } else {
      return Failure(fmt::format("LISTEN_FDS: descriptor {} (\"{}\") is no TCP socket", fd, name));
    }
  }
  return passed;
}

}  // namespace

std::expected<ListenSockets, std::string> make_listen_sockets(const ListenOptions& options) {
  WEIR_CHECK(options.loops > 0);
  if (options.addresses.size() > kListenAddressesMax) {
    return Failure(fmt::format("listen: {} addresses, at most {} are possible",
                               options.addresses.size(), kListenAddressesMax));
  }
  const std::expected<Passed, std::string> passed = take_passed_sockets();
  if (!passed) return Failure(passed.error());
  ListenSockets made;
  made.by_loop.resize(static_cast<std::size_t>(options.loops));
  made.handed_over = !passed->serving.empty();
  made.admin_tcp_fd = passed->admin_tcp;
  made.admin_unix_fd = passed->admin_unix;
  for (const int fd : passed->serving) {
    made.addresses.push_back(bound_address(fd));
    for (std::vector<int>& loop : made.by_loop) loop.push_back(fd);
  }
  const auto fail_with = [&](const std::string& reason) {
    close_listen_sockets(made);
    return Failure(reason);
  };
  // Passed sockets replace the configured addresses: the unit file says where to listen.
  for (std::size_t i = 0; passed->serving.empty() && i < options.addresses.size(); ++i) {
    auto groups = listen_tcp(options.addresses[i], options.loops);
    if (!groups) return fail_with(groups.error());
    for (Group& group : *groups) {
      made.addresses.push_back(group.address);
      for (std::size_t loop = 0; loop < made.by_loop.size(); ++loop) {
        made.by_loop[loop].push_back(group.fds[loop].release());
      }
    }
  }
  if (made.admin_tcp_fd < 0 && !options.admin_tcp_address.empty()) {
    auto groups = listen_tcp(options.admin_tcp_address, 1);
    if (!groups) return fail_with("admin: " + groups.error());
    made.admin_tcp_fd = groups->front().fds.front().release();
  }
  if (made.admin_tcp_fd >= 0) made.admin_tcp_address = bound_address(made.admin_tcp_fd);
  if (made.admin_unix_fd < 0 && !options.admin_unix_path.empty()) {
    auto fd = listen_unix(options.admin_unix_path);
    if (!fd) return fail_with(fd.error());
    made.admin_unix_fd = fd->release();
  }
  return made;
}

void close_listen_sockets(ListenSockets& sockets) {
  for (std::size_t loop = 0; loop < sockets.by_loop.size(); ++loop) {
    for (const int fd : sockets.by_loop[loop]) {
      if (loop == 0 || !std::ranges::count(sockets.by_loop[0], fd)) close(fd);
    }
  }
  for (const int fd : {sockets.admin_tcp_fd, sockets.admin_unix_fd}) {
    if (fd >= 0) close(fd);
  }
  sockets = {};
}

}  // namespace weir::server

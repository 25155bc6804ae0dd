#include "server/admin_server.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/un.h>

#include "io/metrics.h"
#include "io/unique_fd.h"
#include "tests/io/test_loop.h"
#include "tests/server/temporary_folder.h"

namespace weir::server {
namespace {

// A real server on its own thread; the client is a plain blocking socket.
class AdminServerTest : public testing::Test {
 protected:
  AdminServerTest() {
    tcp_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    address_.sin_family = AF_INET;
    address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t bytes = sizeof address_;
    EXPECT_EQ(::bind(tcp_.get(), reinterpret_cast<sockaddr*>(&address_), bytes), 0);
    EXPECT_EQ(::listen(tcp_.get(), 256), 0);
    EXPECT_EQ(::getsockname(tcp_.get(), reinterpret_cast<sockaddr*>(&address_), &bytes), 0);
    unix_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    local_.sun_family = AF_UNIX;
    const std::string path = folder_.path() + "/admin.sock";
    path.copy(local_.sun_path, sizeof local_.sun_path - 1);
    EXPECT_EQ(::bind(unix_.get(), reinterpret_cast<sockaddr*>(&local_), sizeof local_), 0);
    EXPECT_EQ(::listen(unix_.get(), 16), 0);
    make_server();
  }
  ~AdminServerTest() override { server_->stop_and_join(); }

  void make_server() {
    AdminSources sources;
    sources.loops = [this] {
      return std::vector<LoopStatus>{{clock_.now().time_since_epoch().count() - silent_.load(), 3}};
    };
    sources.requests = [](io::Instant) {
      LiveRequestRow row;
      row.id = "r1";
      row.tenant = "acme";
      row.operation = "fe\"tch";
      return std::vector<LiveRequestRow>{row};
    };
    sources.ready = [this] { return ready_.load(); };
    sources.draining = [this] { return draining_.load(); };
    sources.layout = [](const std::string& name) -> io::Result<std::string> {
      if (name == "acme/site.git") return "{\"packs\":1}";
      return io::fail(name == "acme/slow" ? io::Errc::unavailable : io::Errc::not_found, "test");
    };
    sources.blocking = &blocking_;
    sources.io_backend = "test";
    sources.addresses = {"127.0.0.1:8443"};
    server_ = std::make_unique<AdminServer>(
        std::make_unique<io::EventLoop>(0, io::test_backend(), clock_), tcp_.get(), unix_.get(),
        std::move(sources));
    server_->start();
  }

  std::string ask(std::string_view target, std::string_view host = "localhost",
                  std::string_view method = "GET", bool over_unix = false) {
    const io::UniqueFd fd(::socket(over_unix ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int connected =
        over_unix
            ? ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&local_), sizeof local_)
            : ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address_), sizeof address_);
    EXPECT_EQ(connected, 0);
    std::string request(method);
    request.append(" ").append(target).append(" HTTP/1.1\r\nHost: ").append(host);
    request += "\r\nConnection: close\r\n\r\n";
    EXPECT_EQ(::send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(request.size()));
    std::string answer;
    char buffer[4096];
    for (ssize_t got; (got = ::recv(fd.get(), buffer, sizeof buffer, 0)) > 0;) {
      answer.append(buffer, static_cast<std::size_t>(got));
    }
    return answer;
  }
  int status(std::string_view target, std::string_view host = "localhost",
             std::string_view method = "GET", bool over_unix = false) {
    const std::string answer = ask(target, host, method, over_unix);
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 ")) << answer;
    return answer.size() < 12 ? 0 : std::stoi(answer.substr(9, 3));
  }

  TemporaryFolder folder_;
  io::SystemClock clock_;
  io::UniqueFd tcp_, unix_;
  sockaddr_in address_{};
  sockaddr_un local_{};
  std::atomic<bool> ready_{true};
  std::atomic<bool> draining_{false};
  std::atomic<std::int64_t> silent_{0};
  io::BlockingThreads blocking_{1};
  std::unique_ptr<AdminServer> server_;
};

TEST_F(AdminServerTest, ends_right_after_its_start) {
  for (int i = 0; i < 20; ++i) {
    server_->stop_and_join();
    make_server();
  }
}

TEST_F(AdminServerTest, answers_only_to_names_of_this_machine) {
  for (const char* host : {"localhost", "localhost:8444", "127.0.0.1", "127.0.0.1:8444", "[::1]",
                           "[::1]:8444", "weir"}) {
    EXPECT_EQ(status("/healthz", host), 200) << host;
  }
  for (const char* host :
       {"evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8444", "127.0.0.2",
        "xlocalhost", "[::2]", "[::1", "[::1]x", "10.0.0.1:8444", "localhostx:80"}) {
    EXPECT_NE(status("/healthz", host), 200) << host;
    EXPECT_NE(status("/metrics", host), 200) << host;
  }
}

TEST_F(AdminServerTest, tells_more_on_the_private_socket_only) {
  EXPECT_EQ(status("/v1/status"), 404);
  EXPECT_EQ(status("/v1/status", "weir", "GET", true), 200);
  const std::string answer = ask("/v1/status", "weir", "GET", true);
  EXPECT_NE(answer.find(R"("tenant":"acme")"), std::string::npos) << answer;
  EXPECT_NE(answer.find(R"("operation":"fe\"tch")"), std::string::npos) << answer;
  EXPECT_EQ(status("/metrics", "weir", "GET", true), 200);
}

TEST_F(AdminServerTest, tells_how_a_repository_lies_on_the_private_socket_only) {
  const std::string path = "/v1/repositories/acme/site.git/layout";
  EXPECT_EQ(status(path), 404);
  const std::string answer = ask(path, "weir", "GET", true);
  EXPECT_NE(answer.find("HTTP/1.1 200"), answer.npos) << answer;
  EXPECT_NE(answer.find(R"({"packs":1})"), answer.npos) << answer;
  EXPECT_EQ(status("/v1/repositories/acme/none/layout", "weir", "GET", true), 404);
  EXPECT_EQ(status("/v1/repositories/acme/slow/layout", "weir", "GET", true), 503);
  EXPECT_EQ(status("/v1/repositories/acme/site.git", "weir", "GET", true), 404);
  EXPECT_EQ(status("/v1/repositories/layout", "weir", "GET", true), 404);
}

TEST_F(AdminServerTest, silent_connections_shut_no_door) {
  std::vector<io::UniqueFd> silent;
  for (std::size_t i = 0; i < 3 * kAdminConnectionsMax; ++i) {
    silent.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::connect(silent.back().get(), reinterpret_cast<const sockaddr*>(&address_),
                        sizeof address_),
              0);
  }
  EXPECT_EQ(status("/healthz"), 200);
  EXPECT_EQ(status("/v1/status", "weir", "GET", true), 200);
  char byte = 0;
  EXPECT_EQ(::recv(silent.front().get(), &byte, 1, 0), 0);  // the oldest gave way
}

TEST_F(AdminServerTest, metrics_are_openmetrics_text) {
  io::Metrics::instance().counter("weir_admin_test", "", "For this test.").add(5);
  const std::string answer = ask("/metrics");
  EXPECT_NE(answer.find("application/openmetrics-text"), std::string::npos);
  EXPECT_NE(answer.find("\nweir_admin_test_total 5\n"), std::string::npos);
  EXPECT_TRUE(answer.ends_with("# EOF\n"));
}

TEST_F(AdminServerTest, refuses_other_methods_and_paths) {
  for (const char* method : {"POST", "PUT", "DELETE", "OPTIONS", "TRACE"}) {
    EXPECT_EQ(status("/healthz", "localhost", method), 405) << method;
  }
  for (const char* path : {"/", "/healthz/", "/v1/other", "/HEALTHZ", "/../healthz"}) {
    EXPECT_EQ(status(path), 404) << path;
  }
}

TEST_F(AdminServerTest, readiness_follows_the_serving_process) {
  EXPECT_EQ(status("/readyz"), 200);
  ready_ = false;
  EXPECT_EQ(status("/readyz"), 503);
  draining_ = true;
  EXPECT_NE(ask("/readyz").find("draining"), std::string::npos);
}

TEST_F(AdminServerTest, health_fails_for_a_loop_that_is_silent) {
  silent_ = (kLoopStalledAfter + std::chrono::seconds(1)).count();
  const std::string answer = ask("/healthz");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 503")) << answer;
  EXPECT_NE(answer.find("loop 0 shows no sign of life"), std::string::npos) << answer;
}

}  // namespace
}  // namespace weir::server

#include "server/listen_sockets.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

namespace weir::server {
namespace {

std::expected<ListenSockets, std::string> listen_on(std::vector<std::string> addresses,
                                                    int loops = 1) {
  ListenOptions options;
  options.loops = loops;
  options.addresses = std::move(addresses);
  return make_listen_sockets(options);
}

unsigned port_of(int fd) {
  sockaddr_storage address = {};
  socklen_t bytes = sizeof address;
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &bytes);
  return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);  // the same place for v6
}

TEST(ListenSockets, all_loops_share_the_port_that_was_chosen) {
  auto made = listen_on({"127.0.0.1:0", "[::1]:0"}, 3);
  ASSERT_TRUE(made.has_value()) << made.error();
  ASSERT_EQ(made->by_loop.size(), 3U);
  ASSERT_EQ(made->addresses.size(), 2U);
  for (std::size_t address = 0; address < 2; ++address) {
    const unsigned port = port_of(made->by_loop[0][address]);
    EXPECT_NE(port, 0U);
    EXPECT_TRUE(made->addresses[address].ends_with(":" + std::to_string(port)));
    for (const std::vector<int>& loop : made->by_loop) {
      EXPECT_EQ(port_of(loop[address]), port);
      EXPECT_EQ(fcntl(loop[address], F_GETFD), FD_CLOEXEC);
    }
  }
  EXPECT_TRUE(made->addresses[1].starts_with("[::1]:"));
  close_listen_sockets(*made);
}

TEST(ListenSockets, a_name_stands_for_all_its_addresses) {
  auto made = listen_on({"localhost:0", "*:0"});
  ASSERT_TRUE(made.has_value()) << made.error();
  EXPECT_GE(made->addresses.size(), 2U);
  close_listen_sockets(*made);
}

TEST(ListenSockets, an_address_in_use_is_named_even_when_it_is_our_own_kind_of_socket) {
  auto first = listen_on({"127.0.0.1:0"}, 2);
  ASSERT_TRUE(first.has_value());
  const std::string address = first->addresses[0];
  const auto second = listen_on({address}, 2);
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error(), "cannot listen on " + address +
                                ": Address already in use (is another server running there?)");
  close_listen_sockets(*first);
  auto third = listen_on({address}, 2);
  EXPECT_TRUE(third.has_value());
  if (third) close_listen_sockets(*third);
}

TEST(ListenSockets, refuses_what_is_no_address_and_says_which) {
  const char* const kRefused[] = {"",           "8443",         "localhost",      "127.0.0.1:",
                                  "1.2.3.4:x",  "1.2.3.4:-1",   "1.2.3.4:65536",  "1.2.3.4: 80",
                                  "::1:8443",   "[::1:8443",    "[]:8443",        "[::1]8443",
                                  "1.2.3.4:1x", "300.1.1.1:80", "203.0.113.7:80", "[::zz]:80"};
  for (const char* text : kRefused) {
    const auto refused = listen_on({text});
    ASSERT_FALSE(refused.has_value()) << text;
    EXPECT_NE(refused.error().find(text), std::string::npos) << refused.error();
  }
  EXPECT_FALSE(listen_on(std::vector<std::string>(kListenAddressesMax + 1, "127.0.0.1:0")));
}

class AdminSocket : public testing::Test {
 protected:
  AdminSocket() {
    char name[] = "/tmp/weir_listen_XXXXXX";
    folder = mkdtemp(name);
    options.admin_unix_path = folder + "/admin.sock";
  }
  ~AdminSocket() override {
    unlink(options.admin_unix_path.c_str());
    rmdir(folder.c_str());
  }
  std::string folder;
  ListenOptions options;
};

TEST_F(AdminSocket, is_private_and_replaces_a_dead_predecessors) {
  options.admin_tcp_address = "127.0.0.1:0";
  auto made = make_listen_sockets(options);
  ASSERT_TRUE(made.has_value()) << made.error();
  struct stat status = {};
  ASSERT_EQ(stat(options.admin_unix_path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0600U);
  EXPECT_TRUE(made->admin_tcp_address.starts_with("127.0.0.1:"));
  const auto second = make_listen_sockets(options);
  ASSERT_FALSE(second.has_value());
  EXPECT_NE(second.error().find(options.admin_unix_path), std::string::npos);
  EXPECT_NE(second.error().find("another server"), std::string::npos);
  close_listen_sockets(*made);  // as a killed server leaves it: the file stays
  auto third = make_listen_sockets(options);
  EXPECT_TRUE(third.has_value()) << third.error();
  if (third) close_listen_sockets(*third);
}

TEST_F(AdminSocket, a_path_that_cannot_be_is_named) {
  options.admin_unix_path = folder + "/" + std::string(200, 'x');
  EXPECT_NE(make_listen_sockets(options).error().find("at most 107"), std::string::npos);
  options.admin_unix_path = folder + "/missing/admin.sock";
  EXPECT_NE(make_listen_sockets(options).error().find("missing/admin.sock"), std::string::npos);
}

// In a child: descriptor numbers and the environment are the process's own.
template <typename Work>
int exit_code_of_child(Work work) {
  const pid_t pid = fork();
  if (pid == 0) _exit(work());
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

TEST(ListenSockets, takes_over_what_systemd_passes) {
  auto outside = listen_on({"127.0.0.1:0"});
  ASSERT_TRUE(outside.has_value());
  const int code = exit_code_of_child([&] {
    dup2(outside->by_loop[0][0], 3);
    const int admin = socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;  // autobind to an abstract name
    if (bind(admin, reinterpret_cast<sockaddr*>(&address), sizeof(sa_family_t)) != 0) return 10;
    if (listen(admin, 1) != 0) return 11;
    if (admin != 4) dup2(admin, 4);
    setenv("LISTEN_PID", std::to_string(getpid()).c_str(), 1);
    setenv("LISTEN_FDS", "2", 1);
    setenv("LISTEN_FDNAMES", "https:admin", 1);
    const auto made = listen_on({"not even looked at"}, 2);
    if (!made) return 1;
    if (made->by_loop != std::vector<std::vector<int>>{{3}, {3}}) return 2;
    if (made->admin_unix_fd != 4 || made->admin_tcp_fd != -1) return 3;
    if (made->addresses != outside->addresses) return 4;
    if (getenv("LISTEN_FDS") != nullptr) return 5;
    return fcntl(3, F_GETFD) == FD_CLOEXEC ? 0 : 6;
  });
  EXPECT_EQ(code, 0);
  close_listen_sockets(*outside);
}

TEST(ListenSockets, ignores_variables_meant_for_another_process_and_refuses_other_descriptors) {
  EXPECT_EQ(exit_code_of_child([] {
              setenv("LISTEN_PID", "1", 1);
              setenv("LISTEN_FDS", "1", 1);
              return listen_on({"127.0.0.1:0"}).has_value() ? 0 : 1;
            }),
            0);
  for (const char* count : {"1", "-1", "1000"}) {
    EXPECT_EQ(exit_code_of_child([&] {
                const int fd = open("/dev/null", O_RDONLY);
                dup2(fd, 3);
                setenv("LISTEN_PID", std::to_string(getpid()).c_str(), 1);
                setenv("LISTEN_FDS", count, 1);
                const auto refused = listen_on({"127.0.0.1:0"});
                return !refused && refused.error().starts_with("LISTEN_FDS") ? 0 : 1;
              }),
              0);
  }
}

}  // namespace
}  // namespace weir::server

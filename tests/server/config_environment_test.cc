#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "server/config.h"
#include "tests/server/temporary_folder.h"

namespace weir::server {
namespace {

class ConfigEnvironmentTest : public testing::Test {
 protected:
  ConfigEnvironmentTest() {
    // A self-signed certificate made by the command an operator would use.
    const std::string make =
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
        "-days 2 -subj /CN=localhost -keyout " +
        folder.path() + "/key.pem -out " + folder.path() + "/cert.pem 2>/dev/null";
    EXPECT_EQ(std::system(make.c_str()), 0);
    config.root = folder.path();
    config.state = folder.path() + "/state";
    config.certificates = {{folder.path() + "/cert.pem", folder.path() + "/key.pem"}};
  }
  std::string script(const std::string& text) {
    const std::string path = folder.path() + "/script";
    std::ofstream(path) << "#!/bin/sh\n" << text << "\n";
    chmod(path.c_str(), 0700);
    return path;
  }

  TemporaryFolder folder;
  Config config;
};

TEST_F(ConfigEnvironmentTest, has_nothing_to_say_when_all_is_well) {
  EXPECT_EQ(check_environment(config), "");
  ASSERT_EQ(mkdir(config.state.c_str(), 0700), 0);
  config.log.path = folder.path() + "/log";
  EXPECT_EQ(check_environment(config), "");
}

TEST_F(ConfigEnvironmentTest, names_every_problem_by_its_key) {
  config.root = folder.path() + "/none";
  config.state = folder.path() + "/none/state";
  config.sandbox.read_paths = {folder.path(), folder.path() + "/none"};
  config.sandbox.hooks_write_paths = {folder.path() + "/none"};
  config.listen.addresses = {"localhost"};
  config.listen.admin_address = "0.0.0.0:1";
  config.certificates = {};
  config.access.tokens_path = folder.path();
  config.git.git_path = folder.path() + "/none";
  config.log.path = folder.path() + "/none/log";
  const std::string none = folder.path() + "/none";
  EXPECT_EQ(check_environment(config),
            "root: " + none +
                ": No such file or directory\n"
                "state: " +
                none +
                ": No such file or directory\n"
                "sandbox.read_paths: " +
                none +
                ": No such file or directory\n"
                "sandbox.hooks_write_paths: " +
                none +
                ": No such file or directory\n"
                "listen.addresses: localhost: address:port expected\n"
                "listen.admin_address: 0.0.0.0:1: loopback address:port expected\n"
                "tls.certificates: at least one expected, such as "
                "[{ certificate = \"cert.pem\", key = \"key.pem\" }]\n"
                "access.tokens: " +
                folder.path() +
                ": not a regular file\n"
                "git.git_path: " +
                none +
                ": No such file or directory\n"
                "log.path: " +
                none + ": No such file or directory");
}

TEST_F(ConfigEnvironmentTest, refuses_a_state_folder_that_others_may_change) {
  ASSERT_EQ(mkdir(config.state.c_str(), 0700), 0);
  chmod(config.state.c_str(), 0777);
  EXPECT_EQ(check_environment(config),
            "state: " + config.state + ": other users may change it; chmod 700 it");
}

TEST_F(ConfigEnvironmentTest, refuses_a_certificate_without_its_key) {
  config.certificates[0].key_path = folder.path() + "/cert.pem";
  EXPECT_EQ(check_environment(config).substr(0, 18), "tls.certificates: ");
  config.certificates[0].key_path = folder.path() + "/none.pem";
  EXPECT_NE(check_environment(config).find("none.pem"), std::string::npos);
}

TEST_F(ConfigEnvironmentTest, asks_git_for_its_version) {
  config.git.git_path = script("echo git version 2.20.1");
  EXPECT_EQ(check_environment(config),
            "git.git_path: " + config.git.git_path + ": git 2.36 or newer expected, got 2.20");
  config.git.git_path = script("echo hello");
  EXPECT_NE(check_environment(config), "");
  config.git.git_path = script("exit 1");
  EXPECT_NE(check_environment(config), "");
  config.git.git_path = script("echo git version 2.39.5");
  EXPECT_EQ(check_environment(config), "");
}

}  // namespace
}  // namespace weir::server

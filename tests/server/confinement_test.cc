#include "server/confinement.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "tests/server/temporary_folder.h"

namespace weir::server {
namespace {

bool has(const std::vector<std::string>& paths, const std::string& path) {
  return std::ranges::find(paths, path) != paths.end();
}

Config usual() {
  Config config;
  config.root = "/srv/git";
  config.state = "/var/lib/weir";
  config.access.tokens_path = "/var/lib/weir/tokens";
  config.certificates = {{"/etc/weir/cert.pem", "/etc/weir/key.pem"}};
  return config;
}

TEST(Confinement, children_read_repositories_and_only_pushes_write) {
  const io::SandboxPolicy policy = children_policy(usual(), "/usr/bin/weir");
  EXPECT_EQ(policy.programs, (std::vector<std::string>{"/usr/bin/git", "/usr/bin/weir"}));
  EXPECT_EQ(policy.write_root, "/srv/git");
  for (const io::ChildReach* reach : {&policy.readers, &policy.writers}) {
    EXPECT_TRUE(has(reach->read_paths, "/srv/git"));
    EXPECT_TRUE(has(reach->read_paths, "/usr"));
    EXPECT_TRUE(has(reach->read_paths, "/var/lib/weir/gitconfig"));
    for (const char* closed : {"/", "/home", "/root", "/var", "/var/lib/weir", "/run"}) {
      EXPECT_FALSE(has(reach->read_paths, closed)) << closed;
      EXPECT_FALSE(has(reach->write_paths, closed)) << closed;
    }
    EXPECT_FALSE(has(reach->write_paths, "/srv/git"));  // each push names its own
  }
  EXPECT_FALSE(has(policy.readers.read_paths, "/etc"));
  EXPECT_FALSE(has(policy.readers.write_paths, "/tmp"));
  EXPECT_TRUE(has(policy.writers.write_paths, "/tmp"));
  EXPECT_EQ(policy.readers.sockets, io::Sockets::none);
  EXPECT_EQ(policy.writers.sockets, io::Sockets::local);
}

TEST(Confinement, the_folders_of_secrets_are_hidden_under_every_name) {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder.path() + "/live");
  std::filesystem::create_directories(folder.path() + "/archive");
  std::ofstream(folder.path() + "/archive/key1.pem") << "key";
  std::filesystem::create_symlink("../archive/key1.pem", folder.path() + "/live/key.pem");
  Config config = usual();
  config.certificates.push_back({"cert.pem", folder.path() + "/live/key.pem"});
  const std::vector<std::string> hidden = children_policy(config, "/usr/bin/weir").hidden_paths;
  for (const std::string& path : {std::string("/var/lib/weir"), std::string("/etc/weir"),
                                  folder.path() + "/live", folder.path() + "/archive"}) {
    EXPECT_TRUE(has(hidden, path)) << path;
  }
}

TEST(Confinement, a_secret_beside_what_children_need_hides_itself_alone) {
  Config config = usual();
  config.root = "/srv/git";
  config.certificates = {{"c", "/etc/key.pem"}, {"c", "/srv/git/key.pem"}, {"c", "/srv/key.pem"}};
  const std::vector<std::string> hidden = children_policy(config, "/usr/bin/weir").hidden_paths;
  for (const char* path : {"/etc/key.pem", "/srv/git/key.pem", "/srv/key.pem"}) {
    EXPECT_TRUE(has(hidden, path)) << path;
  }
  for (const char* path : {"/etc", "/srv/git", "/srv"}) EXPECT_FALSE(has(hidden, path)) << path;
}

TEST(Confinement, the_operator_opens_what_hooks_need) {
  Config config = usual();
  config.sandbox = {.read_paths = {"/home/git/alternates"},
                    .hooks_write_paths = {"/srv/www"},
                    .hooks_network = true};
  const io::SandboxPolicy policy = children_policy(config, "/usr/bin/weir");
  EXPECT_TRUE(has(policy.readers.read_paths, "/home/git/alternates"));
  EXPECT_TRUE(has(policy.writers.read_paths, "/home/git/alternates"));
  EXPECT_TRUE(has(policy.writers.write_paths, "/srv/www"));
  EXPECT_FALSE(has(policy.readers.write_paths, "/srv/www"));
  EXPECT_EQ(policy.writers.sockets, io::Sockets::any);
  EXPECT_EQ(policy.readers.sockets, io::Sockets::none);
}

TEST(Confinement, a_git_of_ones_own_brings_its_helpers) {
  Config config = usual();
  config.git.git_path = "/home/git/local/bin/git";
  const auto own = children_policy(config, "/usr/bin/weir").readers.read_paths;
  EXPECT_TRUE(has(own, "/home/git/local/bin"));
  EXPECT_TRUE(has(own, "/home/git/local/libexec"));
  EXPECT_FALSE(has(own, "/home/git/local"));
  config.git.git_path = "/home/git/wrapper";
  const auto wrapped = children_policy(config, "/usr/bin/weir").readers.read_paths;
  EXPECT_TRUE(has(wrapped, "/home/git/wrapper"));
  EXPECT_FALSE(has(wrapped, "/home/git"));
}

}  // namespace
}  // namespace weir::server

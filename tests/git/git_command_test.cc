#include "git/git_command.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>

#include "tests/git/scratch_repository.h"

namespace weir::git {
namespace {

class GitCommandTest : public testing::Test {
 protected:
  struct NoBody final : io::ByteSource {
    io::Task<io::Result<std::span<const std::uint8_t>>> read() override {
      co_return std::span<const std::uint8_t>{};
    }
  };
  struct NoAnswer final : io::ByteSink {
    io::Task<io::Result<void>> write(std::span<const std::uint8_t>) override {
      co_return io::Result<void>{};
    }
  };

  GitCommandTest() {
    environment.git_path = "/usr/bin/git";
    environment.git_config_path = repository.folder() + "/gitconfig";
    call.remote_user = "ann<x>\n";
    call.remote_address = "192.0.2.1";
    call.request_id = "r1";
  }
  std::string env(const io::SubprocessSpec& spec, const std::string& name) const {
    for (const std::string& entry : spec.env) {
      if (entry.starts_with(name + "=")) return entry.substr(name.size() + 1);
    }
    return "<absent>";
  }
  // What git says with the environment and configuration that its children get.
  std::string git(const std::string& arguments) {
    const io::SubprocessSpec spec = git_command(call, Service::receive_pack);
    std::string command = "env -i";
    for (const std::string& entry : spec.env) command += " '" + entry + "'";
    return repository.run(command + " /usr/bin/git " + arguments);
  }

  ScratchRepository repository;
  GitEnvironment environment{};
  NoBody body;
  NoAnswer answer;
  ServiceCall call{.environment = environment,
                   .repository = repository.repository(),
                   .snapshot = nullptr,
                   .protocol_version = 2,
                   .request_id = "",
                   .trace_parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                   .remote_user = "",
                   .remote_address = "",
                   .shown = {},
                   .body = body,
                   .answer = answer,
                   .stop = {}};
};

TEST_F(GitCommandTest, names_the_repository_and_no_secret) {
  environment.push_cert_seed = "very secret";
  ASSERT_TRUE(write_git_config(environment.git_config_path, environment.push_cert_seed));
  const io::SubprocessSpec spec = git_command(call, Service::upload_pack);
  EXPECT_EQ(spec.argv, (std::vector<std::string>{"/usr/bin/git", "upload-pack", "--stateless-rpc",
                                                 "--strict", repository.path()}));
  EXPECT_FALSE(spec.may_finish);
  EXPECT_TRUE(git_command(call, Service::receive_pack).may_finish);
  for (const std::string& entry : spec.env) EXPECT_EQ(entry.find("secret"), entry.npos) << entry;
  struct stat status{};
  ASSERT_EQ(stat(environment.git_config_path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600U);
}

TEST_F(GitCommandTest, the_environment_is_clean) {
  const io::SubprocessSpec spec = git_command(call, Service::upload_pack);
  EXPECT_EQ(env(spec, "GIT_PROTOCOL"), "version=2");  // never the header itself
  EXPECT_EQ(env(spec, "GIT_CONFIG_NOSYSTEM"), "1");
  EXPECT_EQ(env(spec, "REMOTE_USER"), "ann_x__");
  EXPECT_EQ(env(spec, "GIT_COMMITTER_EMAIL"), "ann_x__@http.192.0.2.1");
  EXPECT_EQ(env(spec, "GIT_TRACE2_PARENT_SID"), call.trace_parent);
  EXPECT_EQ(env(spec, "WEIR_REQUEST_ID"), "r1");
  call.protocol_version = 0;
  call.trace_parent = "x; rm";
  EXPECT_EQ(env(git_command(call, Service::upload_pack), "GIT_PROTOCOL"), "<absent>");
  EXPECT_EQ(env(git_command(call, Service::upload_pack), "GIT_TRACE2_PARENT_SID"), "<absent>");
}

TEST_F(GitCommandTest, git_reads_defaults_from_the_file_and_what_must_hold_from_the_environment) {
  ASSERT_TRUE(write_git_config(environment.git_config_path, "a \"b\" \\c # d"));
  const std::string in = "-C " + repository.path() + " config ";
  EXPECT_EQ(git(in + "receive.certNonceSeed"), "a \"b\" \\c # d\n");
  EXPECT_EQ(git(in + "uploadpack.allowFilter"), "true\n");
  EXPECT_EQ(git(in + "receive.advertiseAtomic"), "true\n");
  repository.git("config uploadpack.allowFilter false");
  repository.git("config receive.advertiseAtomic false");
  repository.git("config receive.autogc true");
  repository.git("config uploadpack.allowAnySHA1InWant true");
  EXPECT_EQ(git(in + "uploadpack.allowFilter"), "true\n");
  EXPECT_EQ(git(in + "receive.advertiseAtomic"), "false\n");
  EXPECT_EQ(git(in + "receive.autogc"), "false\n");
  EXPECT_EQ(git(in + "uploadpack.allowAnySHA1InWant"), "false\n");
  const io::SubprocessSpec spec = git_command(call, Service::upload_pack, true);
  EXPECT_EQ(
      env(spec, "GIT_CONFIG_VALUE_" + std::to_string(std::stoi(env(spec, "GIT_CONFIG_COUNT")) - 1)),
      "true");
}

TEST_F(GitCommandTest, the_nonce_is_the_one_git_computes) {
  for (const bool sha256 : {false, true}) {
    const ScratchRepository other(sha256 ? "--object-format=sha256" : "");
    environment.push_cert_seed = "seed";
    ASSERT_TRUE(write_git_config(environment.git_config_path, "seed"));
    const std::string advertisement = git("receive-pack --http-backend-info-refs " + other.path());
    const std::size_t at = advertisement.find("push-cert=") + 10;
    const std::string nonce = advertisement.substr(at, advertisement.find(' ', at) - at);
    const std::int64_t stamp = std::atoll(nonce.c_str());
    EXPECT_EQ(push_cert_nonce(environment, *other.repository(),
                              sha256 ? ObjectFormat::sha256 : ObjectFormat::sha1, stamp),
              nonce);
  }
  environment.push_cert_seed = "";
  EXPECT_EQ(push_cert_nonce(environment, *repository.repository(), ObjectFormat::sha1, 1), "");
}

}  // namespace
}  // namespace weir::git

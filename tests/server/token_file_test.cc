#include "server/token_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <thread>

#include "server/token.h"
#include "server/token_command.h"
#include "tests/server/run_now.h"
#include "tests/server/temporary_folder.h"

namespace weir::server {
namespace {

const std::string kHash(64, 'a');
std::string line(const std::string& id) {
  return id + "\t" + kHash + "\tt\tsomeone\tread,push\t1700000000\t0\n";
}

TEST(TokenLines, reads_tokens_comments_and_empty_lines) {
  const auto tokens =
      parse_token_lines("f", "# comment\n\n" + line("aaaaaaaaaaaa") + "bbbbbbbbbbbb\t" + kHash +
                                 "\t*\tRené, robot\tpush\t5\t99");
  ASSERT_TRUE(tokens) << tokens.error();
  ASSERT_EQ(tokens->size(), 2U);
  EXPECT_EQ((*tokens)[0].scopes, 3);
  EXPECT_EQ((*tokens)[1].tenant, "*");
  EXPECT_EQ((*tokens)[1].subject, "René, robot");
  EXPECT_EQ((*tokens)[1].expires_unix_s, 99);
}

TEST(TokenLines, refuses_broken_lines_and_names_them) {
  const std::string id = "aaaaaaaaaaaa\t";
  for (const std::string& bad : {std::string("x"),
                                 std::string(" "),
                                 std::string("\t\t\t\t\t\t"),
                                 id + kHash,
                                 "AAAAAAAAAAAA\t" + kHash + "\tt\ts\tread\t1\t0",
                                 "aaaaaaaaaaa\t" + kHash + "\tt\ts\tread\t1\t0",
                                 id + kHash.substr(1) + "\tt\ts\tread\t1\t0",
                                 id + std::string(64, 'A') + "\tt\ts\tread\t1\t0",
                                 id + kHash + "\t\ts\tread\t1\t0",
                                 id + kHash + "\ta/b\ts\tread\t1\t0",
                                 id + kHash + "\t..\ts\tread\t1\t0",
                                 id + kHash + "\ta*\ts\tread\t1\t0",
                                 id + kHash + "\tt\t\tread\t1\t0",
                                 id + kHash + "\tt\ts\x01\tread\t1\t0",
                                 id + kHash + "\tt\t" + std::string(201, 's') + "\tread\t1\t0",
                                 id + kHash + "\tt\ts\t\t1\t0",
                                 id + kHash + "\tt\ts\tadmin\t1\t0",
                                 id + kHash + "\tt\ts\tread, push\t1\t0",
                                 id + kHash + "\tt\ts\tread\t\t0",
                                 id + kHash + "\tt\ts\tread\t-1\t0",
                                 id + kHash + "\tt\ts\tread\t1\t1x",
                                 id + kHash + "\tt\ts\tread\t1\t0\r",
                                 id + kHash + "\tt\ts\tread\t1\t99999999999999999999",
                                 id + kHash + "\tt\ts\tread\t1\t0\tmore",
                                 line("bbbbbbbbbbbb")}) {
    const auto tokens = parse_token_lines("file", line("bbbbbbbbbbbb") + bad + "\n");
    ASSERT_FALSE(tokens) << bad;
    EXPECT_EQ(tokens.error().substr(0, 8), "file:2: ") << tokens.error();
  }
}

class TokenFileTest : public testing::Test {
 protected:
  void write(const std::string& text) {
    const std::string fresh = path + ".test";
    std::ofstream(fresh) << text;
    chmod(fresh.c_str(), 0600);
    ASSERT_EQ(rename(fresh.c_str(), path.c_str()), 0);
  }
  static bool has(TokenFile& file, const std::string& id) {
    return run_now(file.find(id)).value().value().has_value();
  }
  int command(std::vector<std::string> words) {
    words.insert(words.begin(), "token");
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    const int status = token_command(static_cast<int>(argv.size()), argv.data());
    std::fflush(stdout);
    output = testing::internal::GetCapturedStdout();
    errors = testing::internal::GetCapturedStderr();
    return status;
  }

  TemporaryFolder folder;
  std::string path = folder.path() + "/tokens";
  std::string output, errors;
};

TEST_F(TokenFileTest, is_empty_until_the_file_appears) {
  const auto file = TokenFile::open(path);
  ASSERT_TRUE(file) << file.error();
  EXPECT_EQ((*file)->size(), 0U);
  EXPECT_EQ((*file)->reload(), "");
  write(line("aaaaaaaaaaaa"));
  EXPECT_EQ((*file)->reload(), "");
  EXPECT_TRUE(has(**file, "aaaaaaaaaaaa"));
  EXPECT_FALSE(has(**file, "bbbbbbbbbbbb"));
}

TEST_F(TokenFileTest, keeps_the_old_set_when_a_reload_fails) {
  write(line("aaaaaaaaaaaa"));
  const auto file = TokenFile::open(path);
  ASSERT_TRUE(file) << file.error();
  write(line("bbbbbbbbbbbb") + "broken\n");
  EXPECT_EQ((*file)->reload(), path + ":2: fewer than 7 fields");
  EXPECT_TRUE(has(**file, "aaaaaaaaaaaa"));
  EXPECT_FALSE(has(**file, "bbbbbbbbbbbb"));
  ASSERT_EQ(unlink(path.c_str()), 0);
  EXPECT_NE((*file)->reload(), "");
  EXPECT_TRUE(has(**file, "aaaaaaaaaaaa"));
  write(line("bbbbbbbbbbbb"));
  EXPECT_EQ((*file)->reload(), "");
  EXPECT_FALSE(has(**file, "aaaaaaaaaaaa"));
}

TEST_F(TokenFileTest, refuses_files_it_should_not_trust) {
  write(line("aaaaaaaaaaaa"));
  chmod(path.c_str(), 0620);
  EXPECT_FALSE(TokenFile::open(path));
  chmod(path.c_str(), 0602);
  EXPECT_FALSE(TokenFile::open(path));
  chmod(path.c_str(), 0644);
  EXPECT_TRUE(TokenFile::open(path));
  EXPECT_FALSE(TokenFile::open(folder.path()));
  write("broken\n");
  EXPECT_FALSE(TokenFile::open(path));
}

TEST_F(TokenFileTest, command_adds_lists_and_revokes) {
  ASSERT_EQ(command({"add", "--file", path, "--tenant", "t", "--subject", "ci robot", "--scopes",
                     "read,push", "--secret-only"}),
            0)
      << errors;
  ASSERT_FALSE(output.empty());
  const std::string token = output.substr(0, output.size() - 1);
  EXPECT_EQ(errors, "");
  const auto parts = parse_token(token);
  ASSERT_TRUE(parts) << output;
  const std::string id(parts->id);
  struct stat status{};
  ASSERT_EQ(stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600U);

  const auto file = TokenFile::open(path);
  ASSERT_TRUE(file) << file.error();
  EXPECT_TRUE(has(**file, id));
  ASSERT_EQ(command({"list", "--file", path}), 0);
  EXPECT_NE(output.find(id), std::string::npos);
  EXPECT_NE(output.find("ci robot"), std::string::npos);
  EXPECT_EQ(output.find(parts->secret), std::string::npos);

  EXPECT_EQ(command({"revoke", "--file", path, "abcdefghijkl"}), 1);
  EXPECT_EQ(command({"revoke", "--file", path, id}), 0);
  EXPECT_EQ((*file)->reload(), "");
  EXPECT_FALSE(has(**file, id));
}

TEST_F(TokenFileTest, command_counts_the_time_to_live) {
  ASSERT_EQ(command({"add", "--file", path, "--tenant", "*", "--subject", "s", "--scopes", "read",
                     "--expires", "90d"}),
            0);
  EXPECT_NE(errors.find("once"), std::string::npos);
  const auto tokens = read_token_file(path);
  ASSERT_TRUE(tokens);
  ASSERT_EQ(tokens->size(), 1U);
  EXPECT_EQ((*tokens)[0].expires_unix_s - (*tokens)[0].created_unix_s, 90 * 86'400);
}

TEST_F(TokenFileTest, command_refuses_what_it_cannot_do) {
  const std::vector<std::string> good = {"add",       "--file", path,       "--tenant", "t",
                                         "--subject", "s",      "--scopes", "read"};
  for (const auto& [option, value] : {std::pair{"--tenant", "a/b"},
                                      {"--tenant", ""},
                                      {"--subject", "a\tb"},
                                      {"--subject", ""},
                                      {"--scopes", "admin"},
                                      {"--scopes", ""},
                                      {"--expires", "90"},
                                      {"--expires", "d"},
                                      {"--expires", "0d"},
                                      {"--expires", "-1d"},
                                      {"--expires", "3651d"},
                                      {"--expires", "1y"},
                                      {"--expires", "99999999999999999999d"},
                                      {"--file", "/nowhere/at/all/tokens"}}) {
    std::vector<std::string> words = good;
    const auto at = std::ranges::find(words, option);
    if (at != words.end()) {
      at[1] = value;
    } else {
      words.insert(words.end(), {option, value});
    }
    EXPECT_NE(command(words), 0) << option << " " << value;
    EXPECT_EQ(output, "");
  }
  EXPECT_NE(command({}), 0);
  EXPECT_NE(command({"add"}), 0);
  EXPECT_NE(command({"list", "--file", path}), 0);
  EXPECT_EQ(access(path.c_str(), F_OK), -1);
}

TEST_F(TokenFileTest, writers_at_the_same_time_lose_nothing) {
  std::vector<std::thread> writers;
  for (int writer = 0; writer < 4; ++writer) {
    writers.emplace_back([&, writer] {
      for (int i = 0; i < 10; ++i) {
        StoredToken token{.id = "aaaaaaaaaa" + std::string(1, static_cast<char>('a' + writer)) +
                                std::string(1, static_cast<char>('a' + i)),
                          .secret_sha256_hex = kHash,
                          .tenant = "t",
                          .subject = "s",
                          .scopes = 1};
        EXPECT_EQ(update_token_file(path,
                                    [&](std::vector<StoredToken>& all) {
                                      all.push_back(token);
                                      return std::string();
                                    }),
                  "");
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  const auto tokens = read_token_file(path);
  ASSERT_TRUE(tokens) << tokens.error();
  EXPECT_EQ(tokens->size(), 40U);
}

TEST_F(TokenFileTest, a_refused_change_leaves_the_file_alone) {
  write(line("aaaaaaaaaaaa"));
  EXPECT_EQ(update_token_file(path,
                              [](std::vector<StoredToken>& all) {
                                all.clear();
                                return std::string("no");
                              }),
            "no");
  EXPECT_EQ(read_token_file(path)->size(), 1U);
  write("broken\n");
  EXPECT_NE(update_token_file(path, [](std::vector<StoredToken>&) { return std::string(); }), "");
}

}  // namespace
}  // namespace weir::server

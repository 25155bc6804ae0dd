#include "server/config.h"

#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>

#include "server/config_reader.h"
#include "server/config_values.h"
#include "tests/server/temporary_folder.h"

namespace weir::server {
namespace {

std::string problems_of(const std::string& text) {
  const auto config = parse_config("weir.toml", text);
  return config ? "" : config.error();
}

std::string read_source(const std::string& name) {
  std::ifstream file(std::string(WEIR_SOURCE_DIR) + "/" + name);
  EXPECT_TRUE(file) << name;
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(Config, an_empty_file_gives_the_defaults) {
  const auto config = parse_config("weir.toml", "");
  ASSERT_TRUE(config) << config.error();
  EXPECT_EQ(config->path, "weir.toml");
  EXPECT_EQ(config->state, ".weir");
  EXPECT_EQ(config->listen.addresses, std::vector<std::string>{"127.0.0.1:8443"});
  EXPECT_EQ(config->git.push_bytes_max, 4UL << 30);
  EXPECT_TRUE(config->access.rules.empty());
}

TEST(Config, reads_every_kind_of_value) {
  const auto config = parse_config("weir.toml", R"(
root = "/srv/git"
loops = 4
io = "epoll"

[listen]
addresses = ["0.0.0.0:443", "[::]:443"]
admin_address = ""
proxy_protocol_networks = ["10.0.0.0/8"]

[tls]
certificates = [
  { certificate = "a.pem", key = "a.key" },
  { certificate = "b.pem", key = "b.key" },
]

[access]
public_read = true
tokens = "/etc/weir/tokens"

[[access.rules]]
match = "acme"
public_read = false

[[access.rules]]
match = "acme/mirror/*"
public_read = true
push = false

[git]
validity = "generation"
push_bytes_max = "16 GiB"
fetch_request_bytes_max = 65536

[log]
requests = false
)");
  ASSERT_TRUE(config) << config.error();
  EXPECT_EQ(config->root, "/srv/git");
  EXPECT_EQ(config->loops, 4U);
  EXPECT_EQ(config->listen.addresses.size(), 2U);
  EXPECT_EQ(config->listen.admin_address, "");
  ASSERT_EQ(config->certificates.size(), 2U);
  EXPECT_EQ(config->certificates[1].key_path, "b.key");
  ASSERT_EQ(config->access.rules.size(), 2U);
  EXPECT_TRUE(config->access.rules[0].push);
  EXPECT_FALSE(config->access.rules[1].push);
  EXPECT_EQ(config->git.push_bytes_max, 16UL << 30);
  EXPECT_EQ(config->git.fetch_request_bytes_max, 65536U);
  EXPECT_FALSE(config->log.requests);
}

TEST(Config, names_file_line_key_and_the_accepted_range) {
  EXPECT_EQ(problems_of("\n[git]\npush_slots = 5000\n"),
            "weir.toml:3: git.push_slots: 0..4096 expected, got 5000");
  EXPECT_EQ(problems_of("io = \"epol\""),
            "weir.toml:1: io: \"auto\" or \"io_uring\" or \"epoll\" expected, got \"epol\"");
  EXPECT_EQ(problems_of("[git]\npush_bytes_max = \"12 parsecs\"\n"),
            "weir.toml:2: git.push_bytes_max: 1 MiB..1 TiB expected, got \"12 parsecs\"");
}

TEST(Config, suggests_what_an_unknown_key_may_have_meant) {
  const struct {
    std::string text;
    std::string problem;
  } table[] = {
      {"[git]\npush_slot = 5", ":2: git.push_slot: unknown key (did you mean git.push_slots?)"},
      {"[gti]\nx = 5", ":1: gti: unknown key (did you mean git?)"},
      {"public_read = true", ":1: public_read: unknown key (did you mean access.public_read?)"},
      {"[limits]\npush_slots = 5",
       ":2: limits.push_slots: unknown key (did you mean git.push_slots?)"},
      {"[[access.rules]]\nmatch = \"a\"\npublic = true",
       ":3: access.rules.public: unknown key (did you mean access.rules.public_read?)"},
      {"[[access.rules]]\nmatch = \"a\"\npublic-read = true",
       ":3: access.rules.public-read: unknown key (did you mean access.rules.public_read?)"},
      {"completely_else = 1", ":1: completely_else: unknown key"},
      {"\"a\\nb\" = 1", ":1: a?b: unknown key"},
      {"git.push_slots.x = 1", ":1: git.push_slots: 0..4096 expected, got a table"},
  };
  for (const auto& row : table) EXPECT_EQ(problems_of(row.text), "weir.toml" + row.problem);
}

TEST(Config, reports_all_problems_in_the_order_of_lines) {
  EXPECT_EQ(problems_of("[limits]\ndrain_s = -1\n[git]\nvalidity = 1\nbogus_thing = 1\n[access]\n"
                        "realm = \"a\\\"b\"\n"),
            "weir.toml:2: limits.drain_s: 0..86400 expected, got -1\n"
            "weir.toml:4: git.validity: \"stat\" or \"generation\" expected, got 1\n"
            "weir.toml:5: git.bogus_thing: unknown key\n"
            "weir.toml:7: access.realm: 1 to 100 printable ASCII characters, no quotes or "
            "backslashes expected, got \"a\\\"b\"");
}

TEST(Config, refuses_values_out_of_range_or_of_another_type) {
  for (const std::string& bad : {
           std::string("loops = 257"),
           std::string("loops = 1.5"),
           std::string("loops = \"2\""),
           std::string("loops = true"),
           std::string("loops = []"),
           std::string("loops = 2024-01-01"),
           std::string("loops = 9223372036854775807"),
           std::string("state = \"\""),
           std::string("state = 1"),
           std::string("state = \"a\\u0000b\""),
           std::string("root = []"),
           std::string("io = \"\""),
           std::string("git = 1"),
           std::string("git = []"),
           std::string("[[git]]"),
           std::string("listen.addresses = \"127.0.0.1:1\""),
           std::string("listen.addresses = [1]"),
           std::string("listen.addresses = [\"8443\"]"),
           std::string("listen.addresses = [\"localhost:8443\"]"),
           std::string("listen.addresses = [\"127.0.0.1:65536\"]"),
           std::string("listen.addresses = [\"::1:8443\"]"),
           std::string("listen.admin_address = \"0.0.0.0:8444\""),
           std::string("listen.admin_address = \"192.168.0.1:8444\""),
           std::string("listen.proxy_protocol_networks = [\"10.0.0.1/8\"]"),
           std::string("listen.forwarded_for_networks = [\"*\"]"),
           std::string("tls.certificates = {certificate = \"a\", key = \"b\"}"),
           std::string("tls.certificates = [\"a.pem\"]"),
           std::string("tls.certificates = [{certificate = \"a\"}]"),
           std::string("tls.certificates = [{key = \"a\"}]"),
           std::string("tls.certificates = [{certificate = \"\", key = \"b\"}]"),
           std::string("access.realm = \"\""),
           std::string("access.realm = \"a\\nb\""),
           std::string("access.public_read = \"yes\""),
           std::string("access.public_read = 1"),
           std::string("[[access.rules]]\npublic_read = true"),
           std::string("[[access.rules]]\nmatch = \"*\""),
           std::string("[[access.rules]]\nmatch = \"a/../b\""),
           std::string("[[access.rules]]\nmatch = \"a\"\n[[access.rules]]\nmatch = \"a\""),
           std::string("git.git_path = \"git\""),
           std::string("git.workers_per_loop = 0"),
           std::string("git.planners = 17"),
           std::string("git.push_bytes_max = 1048575"),
           std::string("git.push_bytes_max = -1"),
           std::string("git.push_bytes_max = \"2 TiB\""),
           std::string("git.push_bytes_max = \"4\""),
           std::string("git.push_bytes_max = \"4 GB\""),
           std::string("git.push_bytes_max = \"-4 GiB\""),
           std::string("git.push_bytes_max = \"18014398509481985 KiB\""),
           std::string("git.push_bytes_max = \"4  GiB\""),
           std::string("git.keepalive_s = 0"),
           std::string("limits.connections_max = 0"),
           std::string("log.requests = \"all\""),
           std::string("sandbox.hooks_network = \"loopback\""),
           std::string("maintenance.quiet_s = 0"),
           std::string("maintenance.interval_s = -1"),
           std::string("sandbox.read_paths = \"/srv\""),
           std::string("sandbox.read_paths = [\"srv\"]"),
           std::string("sandbox.hooks_write_paths = [\"\"]"),
       }) {
    EXPECT_NE(problems_of(bad), "") << bad;
    EXPECT_EQ(problems_of(bad).find("unknown key"), std::string::npos) << problems_of(bad);
  }
}

TEST(Config, names_the_line_of_broken_toml) {
  for (const char* bad : {"\n\nroot = ", "\n\nroot = \"a", "\n\n[git", "\n\na b = 1", "\n\n= 1",
                          "\n\nroot = 'a' 'b'", "\n\nloops = 01", "\n\nroot = \"\xff\"",
                          "loops = 1\n\nloops = 2", "\n\n[=]", "\n\n[ \t/"}) {
    const std::string problem = problems_of(bad);
    EXPECT_TRUE(problem.starts_with("weir.toml:3: not valid TOML: ")) << bad << ": " << problem;
    EXPECT_EQ(problem.find('\n'), std::string::npos);
  }
}

TEST(Config, refuses_control_characters_by_their_line) {
  using std::literals::string_literals::operator""s;
  for (const std::string& bad :
       {"\n\n[\0\0\to"s, "\n\nroot = \"a\x1b\""s, "\n\n# \x7f"s, "\n\n\0"s}) {
    EXPECT_EQ(problems_of(bad), "weir.toml:3: not valid TOML: a control character");
  }
}

TEST(Config, takes_letters_beyond_ascii_in_comments_and_double_quotes) {
  for (const char* good : {"root = \"é\" # é\n# é", "root = 'e'\nstate = \"\"\"e\n\"e\"\"\"\" # é",
                           "root = '''e'e'''' # é", "root = \"a\\\"é\"", "root = \"a\\\\\" # é",
                           "root = 'a\\' # é", "\xEF\xBB\xBFroot = \"é\"", "root = \"\" # é",
                           "root = '' # é", "root = \"\xF0\x9F\x98\x80\""}) {
    EXPECT_EQ(problems_of(good), "") << good;
  }
  EXPECT_EQ(parse_config("f", "root = \"/é/\xF0\x9F\x98\x80\"")->root, "/é/\xF0\x9F\x98\x80");
  for (const char* bad : {"é = 1",
                          "rooté = 1",
                          "root = é",
                          "root = \"a\" é",
                          "root = 'a\\' é",
                          "[é]",
                          "é",
                          "root = \"a\"\"é\"\n",
                          "root = \"\" é",
                          "root = \"\"\"é\"\"\"",
                          "root = 'é'",
                          "loops = 1'é'",
                          "root = '''a''' é",
                          "root = \"a\\é\"",
                          "root = \"\xff\"",
                          "root = \"\xc3\"",
                          "# \xed\xa0\x80",
                          "root = \"\xc0\xaf\"",
                          "root = \"\xe0\x80\xaf\"",
                          "# \xf4\x90\x80\x80",
                          "root = \"\xc3"}) {
    EXPECT_NE(problems_of(bad), "") << bad;
  }
  EXPECT_EQ(problems_of("\n\xc3\xa9 = 1"),
            "weir.toml:2: not valid TOML: letters beyond ASCII belong in \"\" strings or comments");
}

TEST(Config, says_why_a_file_cannot_be_read) {
  const TemporaryFolder folder;
  EXPECT_EQ(read_config(folder.path() + "/none").error(),
            folder.path() + "/none: No such file or directory");
  EXPECT_FALSE(read_config(folder.path()));
  const std::string path = folder.path() + "/weir.toml";
  std::ofstream(path) << "loops = 3\n";
  EXPECT_EQ(read_config(path)->loops, 3U);
  std::ofstream(path) << std::string(5'000'000, '#');
  EXPECT_EQ(read_config(path).error(), path + ": larger than 4 MiB");
}

TEST(ConfigValues, parses_socket_addresses) {
  EXPECT_EQ(parse_socket_address("[2001:db8::1]:443")->host, "2001:db8::1");
  EXPECT_EQ(parse_socket_address("127.0.0.1:0")->port, 0);
  for (const char* bad :
       {"", ":", "127.0.0.1", "127.0.0.1:", ":443", "[::1]", "::1:443", "[::1:443",
        "[127.0.0.1]:443", "127.0.0.1:-1", "127.0.0.1:65536", "127.0.0.1:1x", "127.0.0.1: 1",
        "localhost:443", "*:443", "[]:443", "[::1%lo]:443"}) {
    EXPECT_FALSE(parse_socket_address(bad)) << bad;
  }
}

TEST(ConfigValues, knows_what_a_rule_may_match) {
  for (const char* good :
       {"acme", "acme/site", "acme/site.git", "acme/*", "acme/a*/b", "a/b/c/d"}) {
    EXPECT_TRUE(is_rule_match(good)) << good;
  }
  for (const char* bad : {"", "/", "/acme", "acme/", "a//b", "*", "*/site", "ac*/site", "..",
                          "a/..", "a/./b", "-", "-/x", "a/-/b", "a\nb", "a/b\x7f"}) {
    EXPECT_FALSE(is_rule_match(bad)) << bad;
  }
}

// The rows "| `key` | accepted | `default` | ... |" of the manual, without the last column.
std::vector<std::string> manual_rows() {
  std::vector<std::string> rows;
  std::istringstream text(read_source("docs/configuration.md"));
  for (std::string line; std::getline(text, line);) {
    if (!line.starts_with("| `")) continue;
    std::size_t end = 0;
    for (int bar = 0; bar < 4 && end != std::string::npos; ++bar)
      end = line.find('|', end + (bar > 0));
    EXPECT_NE(end, std::string::npos) << line;
    rows.push_back(line.substr(0, end + 1));
  }
  return rows;
}

TEST(ConfigManual, has_every_key_with_its_range_and_default) {
  std::vector<std::string> expected;
  for (const ConfigKey& key : config_keys()) {
    const std::string fallback = key.fallback.empty() ? "required" : "`" + key.fallback + "`";
    expected.push_back("| `" + key.name + "` | " + key.accepted + " | " + fallback + " |");
  }
  EXPECT_EQ(manual_rows(), expected);
}

TEST(ConfigExample, is_accepted_as_it_is_and_with_every_line_taken_out_of_its_comment) {
  const std::string text = read_source("deploy/weir.toml.example");
  EXPECT_EQ(problems_of(text), "");
  std::string uncommented;
  std::set<std::string> keys;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("#") && !line.starts_with("# ")) line.erase(0, 1);
    uncommented += line + "\n";
  }
  EXPECT_EQ(problems_of(uncommented), "");
  // Every key is shown, by the last part of its name.
  for (const ConfigKey& key : config_keys()) {
    const std::string last = key.name.substr(key.name.rfind('.') + 1);
    const bool shown = uncommented.find("\n" + last + " = ") != std::string::npos ||
                       uncommented.find("[" + key.name + "]") != std::string::npos ||
                       uncommented.find("{ " + last + " = ") != std::string::npos ||
                       uncommented.find(", " + last + " = ") != std::string::npos;
    EXPECT_TRUE(shown) << key.name;
  }
}

}  // namespace
}  // namespace weir::server

#include "server/request_log.h"

#include <gtest/gtest.h>

namespace weir::server {
namespace {

TEST(MaskTokens, hides_the_secret_part_wherever_a_token_stands) {
  const struct {
    const char* text;
    const char* masked;
  } cases[] = {
      {"", ""},
      {"plain", "plain"},
      {"weir_abc_secretsecret_check", "weir_abc_***"},
      {"/x/weir_abc_s3cr3t/y", "/x/weir_abc_***/y"},
      {"weir_a_b weir_c_d", "weir_a_*** weir_c_***"},
      {"weir_", "weir_"},
      {"weir_config", "weir_config"},
      {"weir_a_", "weir_a_***"},
      {"xweir_a_bcd-e", "xweir_a_***-e"},
      {"/weir%5Fabc%5fs3cr3t/y", "/weir_abc_***/y"},
      {"%77eir%255Fabc%25255fs3cr3t", "weir_abc_***"},
      {"weir_a_b%5f", "weir_a_***"},
      {"100%", "100%"},
      {"%zz%5", "%zz%5"},
      {"a%2fb", "a%2fb"},
      {"weir_a%2%35%35f%5fb", "weir_a_***"},
      {"%%37%37eir_a_b", "weir_a_***"},
      {"%-1weir%5fa", "%-1weir%5fa"},
  };
  for (const auto& one : cases) EXPECT_EQ(mask_tokens(one.text), one.masked) << one.text;
}

TEST(RequestLog, tells_of_what_was_refused_before_it_was_a_request) {
  EXPECT_EQ(render_refused_record("192.0.2.7", 400, "the \"Host\" field is missing", 1,
                                  1'700'000'000'123'000'000),
            R"({"time":"2023-11-14T22:13:20.123Z","record":"refused","address":"192.0.2.7",)"
            R"("status":400,"detail":"the \"Host\" field is missing","loop":1})");
}

TEST(MaskTokens, takes_what_is_escaped_many_times_for_what_it_is) {
  std::string text = "weir";
  std::string escape = "%5f";
  for (int i = 0; i < 2000; ++i) escape.insert(1, "25");
  text += escape + "a" + escape + "secret";
  EXPECT_EQ(mask_tokens(text), "weir_a_***");
}

}  // namespace
}  // namespace weir::server

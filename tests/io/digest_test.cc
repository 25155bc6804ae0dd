#include "io/digest.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "io/byte_channel.h"

namespace weir::io {
namespace {

TEST(Digest, sha1_and_sha256_match_the_published_vectors) {
  EXPECT_EQ(to_hex(sha1("abc")), "a9993e364706816aba3e25717850c26c9cd0d89d");
  EXPECT_EQ(to_hex(sha1("")), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
  EXPECT_EQ(to_hex(sha256("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(to_hex(sha256("")), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(Digest, a_message_in_pieces_has_the_digest_of_the_whole) {
  const std::string message(100'000, 'x');
  for (const auto kind : {StreamedDigest::Kind::sha1, StreamedDigest::Kind::sha256}) {
    const std::string whole =
        kind == StreamedDigest::Kind::sha1 ? to_hex(sha1(message)) : to_hex(sha256(message));
    StreamedDigest digest(kind);
    StreamedDigest other(kind);  // two at a time do not meet
    for (std::size_t at = 0; at < message.size(); at += 999) {
      digest.update(as_bytes(std::string_view(message).substr(at, 999)));
      other.update({});
    }
    EXPECT_TRUE(to_hex(digest.finish()).starts_with(whole));
    EXPECT_FALSE(to_hex(other.finish()).starts_with(whole));
  }
}

TEST(Digest, hmac_matches_rfc_2202_and_rfc_4231) {
  EXPECT_EQ(to_hex(hmac_sha1("Jefe", "what do ya want for nothing?")),
            "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
  EXPECT_EQ(to_hex(hmac_sha256("Jefe", "what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

TEST(Digest, hmac_takes_an_empty_key_and_an_empty_message) {
  EXPECT_EQ(to_hex(hmac_sha256("", "")),
            "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
  EXPECT_EQ(hmac_sha256({}, {}), hmac_sha256("", ""));
}

TEST(Digest, random_bytes_do_not_repeat) {
  std::set<Sha256Digest> seen;
  for (int i = 0; i < 64; ++i) {
    Sha256Digest bytes{};
    fill_random(bytes);
    EXPECT_TRUE(seen.insert(bytes).second);
  }
}

TEST(Digest, constant_time_equality_compares_whole_values) {
  EXPECT_TRUE(equal_constant_time("", ""));
  EXPECT_TRUE(equal_constant_time("secret", "secret"));
  EXPECT_FALSE(equal_constant_time("secret", "secreT"));
  EXPECT_FALSE(equal_constant_time("Secret", "secret"));
  EXPECT_FALSE(equal_constant_time("secret", "secret2"));
  EXPECT_FALSE(equal_constant_time("", "s"));
}

TEST(Digest, wipe_zeroes) {
  std::array<std::uint8_t, 5> secret{1, 2, 3, 4, 5};
  wipe(secret);
  EXPECT_EQ(secret, (std::array<std::uint8_t, 5>{}));
}

}  // namespace
}  // namespace weir::io

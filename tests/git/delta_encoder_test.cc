#include "git/delta_encoder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "git/object_codec.h"
#include "tests/git/packed_repository.h"

namespace weir::git {
namespace {

constexpr std::size_t kNoLimit = ~std::size_t{0};

std::string noise(std::mt19937& random, std::size_t bytes, unsigned letters = 256) {
  std::string text(bytes, '\0');
  for (char& c : text) c = static_cast<char>(random() % letters);
  return text;
}

// The delta of two texts, after it was seen that it makes the one from the other.
std::string delta_of(DeltaEncoder& encoder, const std::string& base, const std::string& target) {
  std::string delta;
  EXPECT_TRUE(encoder.encode(bytes_of(base), bytes_of(target), kNoLimit, delta));
  const std::optional<DeltaSizes> sizes = delta_sizes(bytes_of(delta));
  EXPECT_TRUE(sizes && sizes->base == base.size() && sizes->result == target.size());
  std::string out(target.size(), '\0');
  EXPECT_TRUE(apply_delta(bytes_of(base), bytes_of(delta),
                          {reinterpret_cast<std::uint8_t*>(out.data()), out.size()}));
  EXPECT_EQ(out, target);
  return delta;
}

TEST(DeltaEncoder, says_a_small_change_in_few_bytes) {
  std::mt19937 random(1);
  DeltaEncoder encoder;
  const std::string base = noise(random, 300000);
  EXPECT_LT(delta_of(encoder, base, base + "x").size(), 64U);
  EXPECT_LT(delta_of(encoder, base, "x" + base).size(), 64U);
  EXPECT_LT(delta_of(encoder, base, base.substr(0, 1000) + "changed" + base.substr(1234)).size(),
            64U);
  EXPECT_LT(delta_of(encoder, base, base.substr(0, 200000)).size(), 64U);
  EXPECT_LT(delta_of(encoder, base, base).size(), 64U);
}

TEST(DeltaEncoder, finds_what_moved) {
  std::mt19937 random(2);
  DeltaEncoder encoder;
  const std::string a = noise(random, 5000), b = noise(random, 7000), c = noise(random, 100);
  EXPECT_LT(delta_of(encoder, a + b + c, c + b + a).size(), 300U);
  EXPECT_LT(delta_of(encoder, a + b, b + b + b).size(), 100U);
}

TEST(DeltaEncoder, makes_one_text_from_another_whatever_they_are) {
  DeltaEncoder encoder;
  for (unsigned seed = 0; seed < 400; ++seed) {
    std::mt19937 random(seed);
    const unsigned letters = seed % 3 == 0 ? 1 : seed % 3 == 1 ? 3 : 256;
    const std::string base = noise(random, random() % (seed % 10 == 0 ? 200000 : 300), letters);
    std::string target;
    for (unsigned part = random() % 12 + 1; part > 0; --part) {
      const std::size_t from = random() % (base.size() + 1);
      target += base.substr(from, random() % (base.size() - from + 1));
      target += noise(random, random() % 40, letters);
    }
    if (!target.empty()) delta_of(encoder, base, target);
  }
}

TEST(DeltaEncoder, copies_stretches_of_any_length_from_anywhere) {
  std::mt19937 random(3);
  DeltaEncoder encoder;
  const std::string base = noise(random, 0x2000000 + 100);  // offsets of four bytes
  for (const std::size_t bytes : {0xffffUL, 0x10000UL, 0x10001UL, 0x20000UL, 0x1000000UL}) {
    for (const std::size_t from : {0UL, 0x100UL, 0x10000UL, 0x1000000UL}) {
      EXPECT_LT(delta_of(encoder, base, "x" + base.substr(from, bytes) + "y").size(), 3000U);
    }
  }
}

TEST(DeltaEncoder, takes_repetitive_texts_without_repeating_its_work) {
  DeltaEncoder encoder;
  const std::string same(4'000'000, 'a');
  std::string nearly;
  while (nearly.size() < 4'000'000) nearly += std::string(4000, 'a') + "b";
  EXPECT_LT(delta_of(encoder, same, nearly).size(), 40000U);
  EXPECT_LT(delta_of(encoder, nearly, same).size(), 40000U);
}

TEST(DeltaEncoder, gives_up_beyond_the_limit) {
  std::mt19937 random(4);
  DeltaEncoder encoder;
  const std::string base = noise(random, 10000), other = noise(random, 10000);
  std::string delta;
  EXPECT_FALSE(encoder.encode(bytes_of(base), bytes_of(other), 5000, delta));
  EXPECT_LT(delta.size(), 5200U);
  const std::size_t exact = delta_of(encoder, base, base.substr(3000) + "end").size();
  delta.clear();
  EXPECT_TRUE(encoder.encode(bytes_of(base), bytes_of(base.substr(3000) + "end"), exact, delta));
  EXPECT_FALSE(
      encoder.encode(bytes_of(base), bytes_of(base.substr(3000) + "end"), exact - 1, delta));
}

TEST(DeltaEncoder, knows_no_delta_of_nothing) {
  DeltaEncoder encoder;
  std::string delta;
  EXPECT_FALSE(encoder.encode(bytes_of("base"), {}, kNoLimit, delta));
  delta_of(encoder, "", "from nothing");
  delta_of(encoder, "", "x");
}

}  // namespace
}  // namespace weir::git

#include "git/recipe_answer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "git/pkt_line.h"
#include "io/digest.h"
#include "io/unique_fd.h"
#include "tests/git/fake_client.h"
#include "tests/io/test_loop.h"

namespace weir::git {
namespace {

std::string noise(std::size_t bytes, unsigned seed) {
  std::minstd_rand random(seed);
  std::string text(bytes, '\0');
  for (char& c : text) c = static_cast<char>(random());
  return text;
}

class RecipeAnswerTest : public testing::Test {
 protected:
  std::uint32_t add_file(std::string content) {
    io::UniqueFd fd(memfd_create("extents", MFD_CLOEXEC));
    EXPECT_EQ(::write(fd.get(), content.data(), content.size()),
              static_cast<ssize_t>(content.size()));
    fds.push_back(std::move(fd));
    contents.push_back(std::move(content));
    return static_cast<std::uint32_t>(fds.size() - 1);
  }
  // Adds to the recipe and to what its pack is to be.
  void extent(std::uint32_t file, std::uint64_t offset, std::uint64_t bytes) {
    builder.add_extent(file, offset, bytes);
    expected.append(contents[file], offset, bytes);
  }
  void literal(const std::string& text) {
    builder.add_literal(io::as_bytes(text));
    expected += text;
  }
  io::Result<void> send(const Recipe& recipe, SidebandKind sideband, bool progress = false,
                        io::ByteBudget* memory = nullptr) {
    answer.text.clear();
    answer.writes = answer.largest = 0;
    auto fd_of = [this](std::size_t file) {
      if (on_read) on_read();
      return fds[file].get();
    };
    return test.run(send_recipe(answer, recipe, std::move(fd_of), sideband, progress, memory,
                                io::StopToken(stop)));
  }
  // A recipe that nobody has sent yet, so that it is hashed.
  Recipe unsent(const Recipe& recipe) const {
    std::string encoded;
    encode_recipe(recipe, encoded);
    std::vector<std::uint64_t> sizes;
    for (const std::string& content : contents) sizes.push_back(content.size() * 64);
    return *decode_recipe(encoded, sizes);
  }
  // Sends it in every framing and compares with what was added.
  void expect_every_framing(const RecipeCounts& counts) {
    const Recipe recipe = builder.finish(counts, std::nullopt);
    std::string pack("PACK\0\0\0\2", 8);
    for (const int shift : {24, 16, 8, 0}) pack += static_cast<char>(counts.objects >> shift);
    pack += expected;
    pack += io::as_text(io::sha1(pack));
    EXPECT_EQ(pack.size(), recipe.pack_bytes());
    io::ByteBudget spent("test_answers", 0);
    for (const auto sideband : {SidebandKind::large, SidebandKind::small, SidebandKind::none}) {
      for (io::ByteBudget* const memory : {static_cast<io::ByteBudget*>(nullptr), &spent}) {
        ASSERT_TRUE(send(unsent(recipe), sideband, true, memory).has_value());
        EXPECT_EQ(answer.text.size(), framed_bytes(recipe, sideband, true));
        EXPECT_LE(answer.largest,
                  memory == nullptr ? kRecipeAnswerBytesMax / 2 : kLeanRecipeAnswerBytesMax);
        if (sideband == SidebandKind::none) {
          EXPECT_TRUE(answer.text == pack);
          continue;
        }
        const Unpacked unpacked = unpack(answer.text, true);
        EXPECT_TRUE(unpacked.whole && unpacked.flushed);
        EXPECT_TRUE(unpacked.bands[1] == pack);
      }
    }
  }

  io::TestLoop test;
  std::vector<io::UniqueFd> fds;
  std::vector<std::string> contents;
  RecipeBuilder builder{ObjectFormat::sha1};
  std::string expected;
  FakeAnswer answer;
  io::StopSource stop;
  std::function<void()> on_read;
};

TEST_F(RecipeAnswerTest, an_empty_pack_in_every_framing) {
  expect_every_framing({});
}

TEST_F(RecipeAnswerTest, large_extents_in_every_framing) {
  const std::uint32_t file = add_file(noise(3'000'000, 1));
  extent(file, 12, 1'500'000);
  extent(file, 2'000'000, 65'515);
  extent(file, 100, 40'000);
  expect_every_framing({.objects = 70'000});
}

// The range that covers them is read behind what has been filled: nothing may be overwritten
// before it was copied.
TEST_F(RecipeAnswerTest, dense_small_extents_with_literals_between) {
  const std::uint32_t file = add_file(noise(4'000'000, 2));
  for (std::uint64_t at = 12, i = 0; at + 300 < 4'000'000; at += 310, ++i) {
    extent(file, at, 300);
    if (i % 3 == 0) literal(noise(i % 400, static_cast<unsigned>(i)));
  }
  expect_every_framing({.objects = 3});
}

// Ranges as large as fit beside what is copied, in which much has to move and then little is left.
TEST_F(RecipeAnswerTest, a_range_that_fills_the_batch_is_not_overtaken) {
  const std::uint32_t file = add_file(noise(600'000, 11));
  std::uint64_t at = 0;
  for (; at < 190'000; at += 1001) extent(file, at, 1000);
  for (; at < 300'000; at += 50) extent(file, at, 1);
  expect_every_framing({.objects = 3});
}

TEST_F(RecipeAnswerTest, what_has_gone_by_in_a_range_is_read_again) {
  const std::uint32_t file = add_file(noise(600'000, 14));
  std::uint64_t at = 0;
  for (; at < 190'000; at += 1001) extent(file, at, 1000);
  for (; at < 240'000; at += 16'000) extent(file, at, 100);
  extent(file, 0, 500);
  expect_every_framing({.objects = 3});
}

TEST_F(RecipeAnswerTest, a_large_literal_within_a_range_does_not_overwrite_it) {
  const std::uint32_t file = add_file(noise(600'000, 12));
  extent(file, 0, 100);
  literal(noise(190'000, 13));
  for (std::uint64_t at = 200; at < 300'000; at += 16'000) extent(file, at, 100);
  expect_every_framing({.objects = 3});
}

TEST_F(RecipeAnswerTest, extents_that_go_backwards_into_the_gaps) {
  const std::uint32_t file = add_file(noise(400'000, 3));
  for (std::uint64_t round = 0; round < 4; ++round) {
    for (std::uint64_t at = round * 1000; at + 1000 < 400'000; at += 4000) extent(file, at, 900);
  }
  for (std::uint64_t at = 390'000; at > 2000; at -= 1500) extent(file, at, 700);
  expect_every_framing({.objects = 3});
}

TEST_F(RecipeAnswerTest, recipes_of_chance) {
  const std::uint32_t first = add_file(noise(1'000'000, 4));
  const std::uint32_t second = add_file(noise(700'000, 5));
  for (unsigned seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    std::minstd_rand random(seed);
    builder = RecipeBuilder(ObjectFormat::sha1);
    expected.clear();
    std::uint64_t at = 0;
    while (expected.size() < 600'000) {
      const std::uint32_t file = random() % 16 == 0 ? second : first;
      const std::uint64_t size = contents[file].size();
      const std::uint64_t bytes = 1 + random() % (random() % 30 == 0 ? 100'000 : 1 + seed * 200);
      at += random() % (random() % 10 == 0 ? 40'000 : 500);
      if (at + bytes > size) at = random() % (size - bytes);
      extent(file, at, bytes);
      at += bytes;
      if (random() % 4 == 0) literal(noise(random() % (random() % 50 == 0 ? 90'000 : 20), seed));
    }
    expect_every_framing({.objects = seed, .deltas = 1, .reused = seed});
  }
}

TEST_F(RecipeAnswerTest, packets_are_full_and_writes_large) {
  const std::uint32_t file = add_file(noise(2'000'000, 6));
  extent(file, 0, 2'000'000);
  const Recipe recipe = builder.finish({.objects = 9}, std::nullopt);
  ASSERT_TRUE(send(recipe, SidebandKind::large).has_value());
  EXPECT_EQ(answer.largest, 3U * 65'520);
  EXPECT_EQ(answer.writes, 2'000'032 / (3 * kSidebandPayloadBytesMax) + 1);
  Pkt pkt;
  ASSERT_EQ(read_pkt(answer.text, pkt), PktStatus::complete);
  EXPECT_EQ(pkt.bytes, 65'520U);
}

TEST_F(RecipeAnswerTest, what_is_read_ahead_is_of_one_budget) {
  const std::uint32_t file = add_file(noise(2'000'000, 15));
  extent(file, 0, 2'000'000);
  const Recipe recipe = builder.finish({.objects = 9}, std::nullopt);
  io::ByteBudget memory("test_answers", 600 * 1024);
  answer.on_write = [&](const std::string&) { EXPECT_EQ(memory.held(), kRecipeAnswerBytesMax); };
  ASSERT_TRUE(send(recipe, SidebandKind::large, false, &memory).has_value());
  EXPECT_EQ(answer.largest, 3U * 65'520);
  EXPECT_EQ(memory.held(), 0U);
  io::ByteBudget::Share other(memory);
  ASSERT_TRUE(other.grow(1024 * 100));
  answer.on_write = nullptr;
  ASSERT_TRUE(send(recipe, SidebandKind::large, false, &memory).has_value());
  EXPECT_EQ(answer.largest, 65'520U);
}

TEST_F(RecipeAnswerTest, a_known_trailer_is_sent_as_it_is) {
  std::array<std::uint8_t, 32> trailer{};
  for (std::uint8_t i = 0; i < 32; ++i) trailer[i] = i;
  for (const ObjectFormat format : {ObjectFormat::sha1, ObjectFormat::sha256}) {
    const Recipe recipe = RecipeBuilder(format).finish({}, trailer);
    ASSERT_TRUE(send(recipe, SidebandKind::none).has_value());
    EXPECT_EQ(answer.text.substr(12), io::as_text(trailer).substr(0, hash_bytes(format)));
  }
}

TEST_F(RecipeAnswerTest, a_sha256_pack_is_hashed_with_it) {
  const Recipe recipe = RecipeBuilder(ObjectFormat::sha256).finish({}, std::nullopt);
  ASSERT_TRUE(send(recipe, SidebandKind::none).has_value());
  EXPECT_EQ(answer.text.substr(12), io::as_text(io::sha256(answer.text.substr(0, 12))));
}

TEST_F(RecipeAnswerTest, a_trailer_that_two_have_hashed_is_believed) {
  literal("something");
  const Recipe recipe = builder.finish({.objects = 1}, std::nullopt);
  HashedTrailer& trailer = recipe.hashed_trailer();
  ASSERT_TRUE(send(recipe, SidebandKind::none).has_value());
  EXPECT_EQ(trailer.believed(), nullptr);
  ASSERT_TRUE(send(recipe, SidebandKind::none).has_value());
  ASSERT_NE(trailer.believed(), nullptr);
  EXPECT_EQ(io::as_text(std::span(*trailer.believed()).first(20)), answer.text.substr(21));
}

TEST_F(RecipeAnswerTest, a_believed_trailer_is_sent_without_hashing) {
  literal("something");
  const Recipe recipe = builder.finish({.objects = 1}, std::nullopt);
  PackTrailer made_up{};
  made_up.fill('x');
  for (int teller = 0; teller < 2; ++teller) recipe.hashed_trailer().hashed(made_up);
  ASSERT_TRUE(send(recipe, SidebandKind::none).has_value());
  EXPECT_EQ(answer.text.substr(21), std::string(20, 'x'));
}

TEST_F(RecipeAnswerTest, progress_speaks_as_git_does) {
  const RecipeCounts counts{.objects = 70, .deltas = 30, .reused = 40, .reencoded = 10};
  const Recipe recipe = builder.finish(counts, std::nullopt);
  ASSERT_TRUE(send(recipe, SidebandKind::large, true).has_value());
  EXPECT_EQ(unpack(answer.text, true).bands[2],
            "Enumerating objects: 70, done.\n"
            "Total 70 (delta 30), reused 40 (delta 30), pack-reused 20\n");
  ASSERT_TRUE(send(recipe, SidebandKind::large, false).has_value());
  EXPECT_EQ(unpack(answer.text, true).bands[2], "");
  EXPECT_EQ(answer.text.size(), framed_bytes(recipe, SidebandKind::large, false));
}

TEST_F(RecipeAnswerTest, a_short_read_is_continued) {
  const std::uint32_t file = add_file(noise(150'000, 7));
  extent(file, 0, 150'000);
  ASSERT_EQ(ftruncate(fds[file].get(), 70'000), 0);
  int reads = 0;
  on_read = [&] {  // the file is whole again when what is missing is read
    if (++reads != 3) return;
    ASSERT_EQ(::pwrite(fds[file].get(), contents[file].data(), 150'000, 0), 150'000);
  };
  const Recipe recipe = builder.finish({.objects = 1}, std::nullopt);
  ASSERT_TRUE(send(recipe, SidebandKind::large).has_value());
  EXPECT_TRUE(unpack(answer.text, true).bands[1].substr(12, 150'000) == contents[file]);
}

TEST_F(RecipeAnswerTest, a_file_that_ends_early_leaves_whole_packets_and_no_flush) {
  const std::uint32_t file = add_file(noise(1'000'000, 8));
  extent(file, 0, 1'000'000);
  ASSERT_EQ(ftruncate(fds[file].get(), 500'000), 0);
  const Recipe recipe = builder.finish({.objects = 1}, std::nullopt);
  const io::Result<void> sent = send(recipe, SidebandKind::large);
  ASSERT_FALSE(sent.has_value());
  EXPECT_EQ(sent.error().code, io::Errc::corrupt);
  const Unpacked unpacked = unpack(answer.text, true);
  EXPECT_TRUE(unpacked.whole);
  EXPECT_FALSE(unpacked.flushed);
  EXPECT_EQ(unpacked.bands[1].size(), 6 * kSidebandPayloadBytesMax);
}

TEST_F(RecipeAnswerTest, a_file_that_cannot_be_read_is_an_error_of_the_system) {
  const std::uint32_t file = add_file(noise(1'000, 9));
  extent(file, 0, 1'000);
  fds[file].reset(::open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const Recipe recipe = builder.finish({.objects = 1}, std::nullopt);
  const io::Result<void> sent = send(recipe, SidebandKind::large);
  ASSERT_FALSE(sent.has_value());
  EXPECT_EQ(sent.error().code, io::Errc::system);
}

TEST_F(RecipeAnswerTest, a_client_that_leaves_ends_it) {
  const std::uint32_t file = add_file(noise(2'000'000, 10));
  extent(file, 0, 2'000'000);
  const Recipe recipe = builder.finish({.objects = 1}, std::nullopt);
  answer.bytes_max = 300'000;
  io::Result<void> sent = send(recipe, SidebandKind::large);
  ASSERT_FALSE(sent.has_value());
  EXPECT_EQ(sent.error().code, io::Errc::closed);
  answer.bytes_max = SIZE_MAX;
  answer.on_write = [this](const std::string&) { stop.request_stop(); };
  sent = send(recipe, SidebandKind::large);
  ASSERT_FALSE(sent.has_value());
  EXPECT_EQ(sent.error().code, io::Errc::cancelled);
}

}  // namespace
}  // namespace weir::git

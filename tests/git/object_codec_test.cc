#include "git/object_codec.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

#include "tests/git/packed_repository.h"

namespace weir::git {
namespace {

std::span<std::uint8_t> writable(std::string& text) {
  return {reinterpret_cast<std::uint8_t*>(text.data()), text.size()};
}
std::string deflated(const std::string& content) {
  std::string stream;
  Deflater(6).deflate(bytes_of(content), stream);
  return stream;
}

TEST(ObjectCodec, inflates_what_was_deflated_and_says_where_it_ended) {
  Inflater inflater;
  for (const std::string& content : {std::string(), std::string("x"), std::string(100000, 'y')}) {
    const std::string stream = deflated(content);
    std::string out(content.size(), '\0');
    EXPECT_EQ(inflater.inflate(bytes_of(stream + "next"), writable(out)).value(), stream.size());
    EXPECT_EQ(out, content);
  }
}

}  // namespace
}  // namespace weir::git

#include "io/buffer_recycler.h"

#include <gtest/gtest.h>

#include <vector>

namespace weir::io {
namespace {

TEST(BufferRecycler, hands_a_returned_buffer_out_again) {
  OutputBuffer first = take_output_buffer();
  std::uint8_t* const memory = first.get();
  memory[kOutputBufferBytes - 1] = 1;  // the whole of it is ours
  first.reset();
  EXPECT_EQ(take_output_buffer().get(), memory);
}

TEST(BufferRecycler, counts_what_is_lent) {
  const std::int64_t before = output_buffers_lent();
  {
    const OutputBuffer one = take_output_buffer();
    const OutputBuffer two = take_output_buffer();
    EXPECT_NE(one.get(), two.get());
    EXPECT_EQ(output_buffers_lent(), before + 2);
  }
  EXPECT_EQ(output_buffers_lent(), before);
}

TEST(BufferRecycler, takes_back_more_than_it_keeps) {
  std::vector<OutputBuffer> buffers;
  for (std::size_t i = 0; i < 2 * kOutputBuffersKept; ++i) buffers.push_back(take_output_buffer());
  buffers.clear();
  EXPECT_EQ(output_buffers_lent(), 0);
}

}  // namespace
}  // namespace weir::io

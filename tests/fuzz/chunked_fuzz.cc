// Any bytes, cut anywhere and lent in any portion, decode as they do in one piece; never more comes
// out than went in.
#include <string>

#include "http/chunked_decoder.h"
#include "io/check.h"

namespace weir::http {
namespace {

struct Outcome {
  ChunkedDecoder::Status status = ChunkedDecoder::Status::need_more;
  std::string body;
  std::size_t consumed = 0;
  bool operator==(const Outcome&) const = default;
};

void feed(ChunkedDecoder& decoder, std::span<const std::uint8_t> input, std::size_t data_bytes_max,
          Outcome& outcome) {
  const std::size_t before = input.size();
  do {
    std::span<const std::uint8_t> data;
    outcome.status = decoder.decode(input, data_bytes_max, data);
    WEIR_CHECK(data.size() <= data_bytes_max);
    WEIR_CHECK(data.empty() == (outcome.status != ChunkedDecoder::Status::data));
    outcome.body.append(reinterpret_cast<const char*>(data.data()), data.size());
  } while (outcome.status == ChunkedDecoder::Status::data);
  outcome.consumed += before - input.size();
}

Outcome decode(std::span<const std::uint8_t> bytes, std::size_t cut, std::size_t data_bytes_max) {
  ChunkedDecoder decoder;
  Outcome outcome;
  feed(decoder, bytes.first(cut), data_bytes_max, outcome);
  if (outcome.status == ChunkedDecoder::Status::need_more) {
    feed(decoder, bytes.subspan(cut), data_bytes_max, outcome);
  }
  WEIR_CHECK(outcome.body.size() <= bytes.size());
  return outcome;
}

}  // namespace
}  // namespace weir::http

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::span<const std::uint8_t> bytes(data + 2, size - 2);
  const std::size_t cut = data[0] * bytes.size() / 256;
  WEIR_CHECK(weir::http::decode(bytes, cut, data[1] + 1U) ==
             weir::http::decode(bytes, 0, bytes.size() + 1));
  return 0;
}

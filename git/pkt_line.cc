#include "git/pkt_line.h"

#include "git/object_id.h"
#include "io/check.h"

namespace weir::git {
namespace {

constexpr std::size_t kHeaderBytes = 4;

}  // namespace

PktStatus read_pkt(std::string_view input, Pkt& pkt) {
  std::size_t length = 0;
  for (std::size_t i = 0; i < kHeaderBytes; ++i) {
    if (i >= input.size()) return PktStatus::need_more;
    const int digit = hex_value(input[i]);
    if (digit < 0) return PktStatus::malformed;
    length = length * 16 + static_cast<std::size_t>(digit);
  }
  if (length < kHeaderBytes) {
    if (length == 3) return PktStatus::malformed;
    pkt = Pkt{length == 0   ? PktKind::flush
              : length == 1 ? PktKind::delim
                            : PktKind::response_end,
              {},
              kHeaderBytes};
    return PktStatus::complete;
  }
  if (length > kPktBytesMax) return PktStatus::malformed;
  if (input.size() < length) return PktStatus::need_more;
  pkt = Pkt{PktKind::data, input.substr(kHeaderBytes, length - kHeaderBytes), length};
  return PktStatus::complete;
}

std::string_view pkt_text(const Pkt& pkt) {
  std::string_view text = pkt.payload;
  if (text.ends_with('\n')) text.remove_suffix(1);
  return text;
}

void write_pkt_length(char* out, std::size_t bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  WEIR_CHECK(bytes <= kPktBytesMax);
  for (int i = 3; i >= 0; --i) {
    out[i] = kDigits[bytes & 15];
    bytes >>= 4;
  }
}

void append_pkt(std::string& out, std::string_view payload) {
  WEIR_CHECK(payload.size() <= kPktPayloadBytesMax);
  char header[kHeaderBytes];
  write_pkt_length(header, payload.size() + kHeaderBytes);
  out.append(header, kHeaderBytes);
  out.append(payload);
}

void append_flush(std::string& out) {
  out.append("0000");
}
void append_delim(std::string& out) {
  out.append("0001");
}

void append_sideband(std::string& out, Band band, std::string_view payload) {
  constexpr std::size_t kChunk = kPktPayloadBytesMax - 1;
  while (!payload.empty()) {
    const std::string_view part = payload.substr(0, kChunk);
    char header[kHeaderBytes];
    write_pkt_length(header, part.size() + kHeaderBytes + 1);
    out.append(header, kHeaderBytes);
    out.push_back(static_cast<char>(band));
    out.append(part);
    payload.remove_prefix(part.size());
  }
}

}  // namespace weir::git

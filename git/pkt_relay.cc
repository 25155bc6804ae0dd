#include "git/pkt_relay.h"

#include <algorithm>
#include <cstring>

#include "git/pkt_line.h"

namespace weir::git {

bool PktRelay::follow(std::string_view bytes) {
  while (!bytes.empty()) {
    if (plain_) return true;
    if (payload_left_ > 0) {
      const std::size_t taken = std::min(payload_left_, bytes.size());
      const std::size_t kept = std::min(taken, kHeadBytes - head_bytes_);
      std::memcpy(head_.data() + head_bytes_, bytes.data(), kept);
      head_bytes_ += kept;
      payload_left_ -= taken;
      bytes.remove_prefix(taken);
      if (payload_left_ == 0) end_packet();
      continue;
    }
    if (kind_ == RelayKind::v0_plain && header_bytes_ == 0 && bytes[0] == 'P') {
      plain_ = in_pack_ = true;  // no packet length begins like "PACK"
      last_was_flush_ = false;
      return true;
    }
    const std::size_t taken = std::min(header_.size() - header_bytes_, bytes.size());
    std::memcpy(header_.data() + header_bytes_, bytes.data(), taken);
    header_bytes_ += taken;
    bytes.remove_prefix(taken);
    if (header_bytes_ == header_.size() && !begin_packet()) return false;
  }
  return true;
}

bool PktRelay::begin_packet() {
  Pkt pkt;
  const PktStatus status = read_pkt({header_.data(), header_.size()}, pkt);
  if (status == PktStatus::malformed) return false;
  header_bytes_ = 0;
  head_bytes_ = 0;
  last_was_flush_ = status == PktStatus::complete && pkt.kind == PktKind::flush;
  if (status == PktStatus::complete) return true;  // special, or empty data
  std::size_t length = 0;
  for (const char c : header_) {
    length = length * 16 + static_cast<std::size_t>(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
  }
  payload_left_ = payload_bytes_ = length - header_.size();
  return true;
}

void PktRelay::end_packet() {
  if (in_pack_) return;
  const std::string_view head(head_.data(), head_bytes_);
  if (head.starts_with("ERR ")) saw_error_ = true;
  if (kind_ == RelayKind::v2) {
    in_pack_ = head == "packfile\n" && payload_bytes_ == head.size();
  } else if (kind_ == RelayKind::v0_sideband) {
    in_pack_ = !head.empty() && head[0] >= '\x01' && head[0] <= '\x03';
  }
}

std::size_t PktRelay::held_bytes() const {
  if (plain_ || payload_left_ > 0) return 0;
  if (header_bytes_ > 0) return header_bytes_;
  return last_was_flush_ ? 4 : 0;
}

}  // namespace weir::git

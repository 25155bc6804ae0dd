#pragma once
// PktRelay: follows the packet boundaries of what `git upload-pack` writes while it is passed on in
// pieces of any size. It tells how many bytes at the end must be kept back (an incomplete packet
// header, or a flush that may be the last packet: it is sent only after the child has exited well)
// and whether a keepalive may be put in. Sans-IO, no copies, constant memory; one answer, one
// thread. Formats: gitprotocol-v2(5) "output of fetch", gitprotocol-pack(5) "Packfile Data".

#include <array>
#include <cstdint>
#include <string_view>

namespace weir::git {

enum class RelayKind : std::uint8_t {
  v2,           // sections until "packfile", then sideband
  v0_sideband,  // text packets until the first sideband packet
  v0_plain,     // text packets until NAK or ACK, then the pack without packets
};

class PktRelay {
 public:
  explicit PktRelay(RelayKind kind) : kind_(kind) {}

  // Follows bytes that were read now. False: they are not what a child of this kind writes.
  bool follow(std::string_view bytes);
  // Of all bytes followed: how many at the end to keep back until more arrive (0..4).
  std::size_t held_bytes() const;
  // True when the bytes followed, less those held, end where a packet may begin.
  bool at_boundary() const { return payload_left_ == 0 && !plain_; }
  // The pack has begun: sideband packets may be put in at a boundary.
  bool in_pack() const { return in_pack_; }
  bool keepalive_allowed() const { return in_pack_ && at_boundary(); }
  // The child refused in the protocol's own form ("ERR ..."): whole as it is.
  bool saw_error() const { return saw_error_; }
  // The answer ends with a complete packet (a flush, an ERR, an ACK): a child that exits well then
  // is done.
  bool complete() const { return plain_ || (payload_left_ == 0 && header_bytes_ == 0); }

 private:
  static constexpr std::size_t kHeadBytes = 9;  // "packfile\n"

  bool begin_packet();
  void end_packet();

  const RelayKind kind_;
  bool in_pack_ = false;
  bool plain_ = false;  // v0_plain: raw pack bytes from here on
  bool saw_error_ = false;
  bool last_was_flush_ = false;
  std::size_t header_bytes_ = 0;
  std::array<char, 4> header_{};
  std::size_t payload_left_ = 0;
  std::size_t payload_bytes_ = 0;
  std::size_t head_bytes_ = 0;
  std::array<char, kHeadBytes> head_{};  // the packet's first bytes
};

// An empty packet on band 1: what git itself sends to keep a connection alive.
inline constexpr std::string_view kKeepalive = std::string_view("0005\x01", 5);

}  // namespace weir::git

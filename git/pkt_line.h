#pragma once
// pkt-line framing, sans-IO. Format: gitprotocol-common(5) "pkt-line Format"; special packets flush
// 0000, delim 0001, response-end 0002. Stateless; any thread. Hostile bytes give
// PktStatus::malformed.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace weir::git {

inline constexpr std::size_t kPktPayloadBytesMax = 65516;  // gitprotocol-common(5)
inline constexpr std::size_t kPktBytesMax = kPktPayloadBytesMax + 4;

enum class PktKind : std::uint8_t { data, flush, delim, response_end };
enum class PktStatus : std::uint8_t { complete, need_more, malformed };

struct Pkt {
  PktKind kind = PktKind::flush;
  std::string_view payload;  // data only; borrowed from the input
  std::size_t bytes = 0;     // of the whole packet, header included
};

// Reads the packet at the front of `input`.
PktStatus read_pkt(std::string_view input, Pkt& pkt);
// The payload without one trailing LF, as text packets carry it.
std::string_view pkt_text(const Pkt& pkt);

// Appends a data packet; payload at most kPktPayloadBytesMax (checked).
void append_pkt(std::string& out, std::string_view payload);
void append_flush(std::string& out);
void append_delim(std::string& out);
// Writes the four hex digits of `bytes` (whole packet) to `out`.
void write_pkt_length(char* out, std::size_t bytes);

enum class Band : std::uint8_t { data = 1, progress = 2, error = 3 };
// Appends side-band-64k packets that carry all of `payload` on `band`.
void append_sideband(std::string& out, Band band, std::string_view payload);

}  // namespace weir::git

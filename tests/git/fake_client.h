#pragma once
// The client's end of a service in tests: a FakeBody is its request, a FakeAnswer takes the answer,
// unpack() reads it.

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "git/pkt_line.h"
#include "io/byte_channel.h"
#include "io/signal.h"

namespace weir::git {

// Gives `text` in pieces; then the end, an error, or nothing until `then_wait` is notified.
struct FakeBody final : io::ByteSource {
  std::string text;
  std::size_t piece_bytes = 60'000;
  std::optional<io::Errc> then_error;
  io::Signal* then_wait = nullptr;
  std::size_t at = 0;

  io::Task<io::Result<std::span<const std::uint8_t>>> read() override {
    if (at == text.size()) {
      if (then_wait != nullptr) (void)co_await std::exchange(then_wait, nullptr)->wait();
      if (then_error) co_return io::fail(*then_error, "fake body");
    }
    const std::string_view piece = std::string_view(text).substr(at, piece_bytes);
    at += piece.size();
    co_return io::as_bytes(piece);
  }
};

struct FakeAnswer final : io::ByteSink {
  std::string text;
  std::size_t bytes_max = SIZE_MAX;  // then the client is gone
  std::size_t writes = 0;
  std::size_t largest = 0;  // of them
  std::function<void(const std::string& text)> on_write;
  std::optional<std::uint64_t> announced;

  void announce(std::uint64_t bytes) override { announced = bytes; }
  io::Task<io::Result<void>> write(std::span<const std::uint8_t> bytes) override {
    if (text.size() + bytes.size() > bytes_max) co_return io::fail(io::Errc::closed, "fake answer");
    ++writes;
    largest = std::max(largest, bytes.size());
    text += io::as_text(bytes);
    if (on_write) on_write(text);
    co_return io::Result<void>{};
  }
};

// What an answer carries: the text packets before the pack, and each band's bytes.
struct Unpacked {
  std::vector<std::string> sections;
  std::string bands[4];
  std::size_t keepalives = 0;
  bool flushed = false;  // ends with a flush
  bool whole = true;     // nothing but packets
};

inline Unpacked unpack(std::string_view answer, bool sideband_only = false) {
  Unpacked unpacked;
  bool in_pack = sideband_only;
  Pkt pkt;
  while (!answer.empty()) {
    if (read_pkt(answer, pkt) != PktStatus::complete) {
      unpacked.whole = false;
      break;
    }
    answer.remove_prefix(pkt.bytes);
    unpacked.flushed = pkt.kind == PktKind::flush;
    if (pkt.kind != PktKind::data) continue;
    const char first = pkt.payload.empty() ? '\0' : pkt.payload[0];
    if (in_pack || (first >= 1 && first <= 3)) {
      if (pkt.payload == "\x01") ++unpacked.keepalives;
      unpacked.bands[first & 3] += pkt.payload.substr(1);
    } else {
      unpacked.sections.emplace_back(pkt_text(pkt));
      in_pack = unpacked.sections.back() == "packfile";
    }
  }
  return unpacked;
}

}  // namespace weir::git

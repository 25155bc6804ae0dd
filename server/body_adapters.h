#pragma once
// RequestBody and ResponseBody: an Exchange as the ByteSource and ByteSink that Git code reads and
// writes. RequestBody removes gzip coding and bounds the inflated bytes; ResponseBody commits the
// head with the first byte, so that until then the answer can still become another one. One
// request; loop thread.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "http/exchange.h"
#include "http/gzip_inflater.h"
#include "io/byte_channel.h"
#include "io/heavy_turn.h"
#include "server/live_requests.h"

namespace weir::server {

class RequestBody final : public io::ByteSource {
 public:
  // `gzip`: Content-Encoding gzip or x-gzip. `bytes_max`: of what read() returns in all.
  RequestBody(http::Exchange& exchange, LiveRequest& live, bool gzip, std::uint64_t bytes_max);

  io::Task<io::Result<std::span<const std::uint8_t>>> read() override;
  // The error that read() returned, if it did.
  const std::optional<io::Error>& error() const { return error_; }

 private:
  io::Task<io::Result<std::span<const std::uint8_t>>> read_inflated();

  http::Exchange& exchange_;
  LiveRequest& live_;
  std::uint64_t bytes_max_;
  std::uint64_t bytes_ = 0;
  std::unique_ptr<http::GzipInflater> inflater_;
  std::span<const std::uint8_t> compressed_;
  std::vector<std::uint8_t> inflated_;
  bool more_inflated_ = false;  // the last step filled inflated_: the inflater may hold more
  std::size_t inflated_since_turn_ = 0;
  io::HeavyTurn turn_;
  std::optional<io::Error> error_;
};

class ResponseBody final : public io::ByteSink {
 public:
  ResponseBody(http::Exchange& exchange, LiveRequest& live, http::ResponseHead head,
               io::WriteFlow flow);

  void announce(std::uint64_t bytes) override { head_.content_length = bytes; }
  io::Task<io::Result<void>> write(std::span<const std::uint8_t> bytes) override;
  bool committed() const { return committed_; }
  // Commits the head of an answer without a body.
  void commit_empty();

 private:
  http::Exchange& exchange_;
  LiveRequest& live_;
  http::ResponseHead head_;
  io::WriteFlow flow_;
  bool committed_ = false;
};

}  // namespace weir::server

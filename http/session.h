#pragma once
// Session: what a ServerConnection needs of an HTTP version. Sans-IO towards the kernel: it is fed
// plaintext and asked to produce output into the Stream. Owns its Exchanges.

#include <cstdint>
#include <span>

namespace weir::http {

class Session {
 public:
  virtual ~Session() = default;
  virtual void on_data(std::span<const std::uint8_t> bytes) = 0;
  virtual void on_end_of_data() = 0;
  // Writes at most about `bytes_max` to the stream; asks again with want_write() when more waits.
  virtual void on_write_turn(std::size_t bytes_max) = 0;
  virtual void on_flushed() = 0;
  virtual void drain() = 0;
  // The stream is closed: every exchange is told; they are released from later turns.
  virtual void on_stream_closed() = 0;
  virtual std::size_t exchanges() const = 0;
};

}  // namespace weir::http

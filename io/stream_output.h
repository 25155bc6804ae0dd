#pragma once
// StreamOutput: the bytes a Stream has still to send. Two buffers at most, both lent by the loop's
// recycler: one that fills and one that the kernel is reading; none while there is nothing to send.
// With a TLS engine, plaintext is packed into full records: bulk is encrypted straight from the
// caller's span, and what is less than a record waits as plaintext behind the records of the
// filling buffer (its ciphertext will take the same place) for the bytes that follow it. Loop
// thread only.

#include <cstddef>
#include <cstdint>
#include <span>

#include "io/buffer_recycler.h"
#include "io/tls_engine.h"

namespace weir::io {

class StreamOutput {
 public:
  // From now on records of `engine`, which is borrowed; before, and with nullptr, plain bytes.
  void encrypt_with(TlsEngine* engine) { engine_ = engine; }

  // What write() takes, in one call or many. 0 rather than the room of a short record.
  std::size_t room() const;
  std::size_t write(std::span<const std::uint8_t> bytes);
  // Where an engine's call may put records.
  TlsOutput& records();
  // Before an engine's call without an output: records that it keeps must come after what was
  // written.
  void seal();
  bool unsent() const;

  // What fills becomes what is sent: borrowed until end_send(). Empty: there was nothing.
  std::span<const std::uint8_t> begin_send();
  void end_send();
  void drop_unsent();
  std::size_t pending_bytes() const;

 private:
  std::size_t packed_room() const;

  TlsEngine* engine_ = nullptr;
  OutputBuffer filling_buffer_;
  TlsOutput filling_{nullptr, 0, 0};
  std::size_t staged_bytes_ = 0;  // plaintext at filling_.data + filling_.used; less than a record
  OutputBuffer sending_buffer_;
  std::size_t sending_bytes_ = 0;
};

}  // namespace weir::io

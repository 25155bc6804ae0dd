#pragma once
// TlsEngine: TLS as a sans-IO byte engine over OpenSSL with a custom BIO: records in, records out,
// no descriptor, no loop. One connection, one thread. SSL_MODE_RELEASE_BUFFERS: an idle engine
// holds ~14 kB. It keeps its TlsContext alive. Hostile bytes give an error, never a check. Records
// that do not fit the output given wait inside (bounded by what one call makes: a handshake flight,
// the answers to one fed span) and go out first at the next call. OpenSSL headers stay in io/tls_*.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "io/error.h"

namespace weir::io {

class TlsContext;

inline constexpr std::size_t kRecordPlaintextBytesMax = 16384;

enum class TlsRole : std::uint8_t { server, client };

enum class TlsStatus : std::uint8_t {
  ok,                // progress was made
  want_input,        // feed more records
  want_output_room,  // the output span given is full: flush and call again
  closed,            // close_notify received
  failed,            // fatal: error_text() says why; pending alerts were written to the output
};

struct TlsRead {
  TlsStatus status;
  std::size_t bytes;  // plaintext placed in the caller's span
};

// Where records go: the engine appends at `used`, never past `capacity`.
struct TlsOutput {
  std::uint8_t* data;
  std::size_t capacity;
  std::size_t used;
};

class TlsEngine {
 public:
  // `server_name`: client role only, SNI + name to verify (empty: neither).
  TlsEngine(TlsContext& context, TlsRole role, const std::string& server_name);
  ~TlsEngine();

  // Records from the peer: consumed fully by the calls below before the next feed (the span is
  // borrowed until input_pending() is 0; the caller keeps it alive or calls stash_input()).
  void feed(std::span<const std::uint8_t> records);
  std::size_t input_pending() const;
  // Copies what is left of the fed span into the engine, so that the caller may reuse its buffer.
  void stash_input();

  // Drives the handshake. ok = done.
  TlsStatus handshake(TlsOutput& output);
  bool handshake_done() const;
  TlsRead read(std::span<std::uint8_t> plaintext, TlsOutput& output);
  // read() could only answer want_input: cheaper than to ask it. Maybe false when it would.
  bool read_exhausted() const;
  // Encrypts as much of `plaintext` as fits whole records into `output`; returns bytes taken:
  // plaintext_room() at most, and 0 after a failure.
  std::size_t write(std::span<const std::uint8_t> plaintext, TlsOutput& output);
  // The plaintext that surely fits into `output` as full records and one last, shorter one.
  static std::size_t plaintext_room(const TlsOutput& output);
  // Records wait for room: any call with an output that has some, e.g. an empty write(), moves
  // them.
  bool output_waiting() const;
  // Appends close_notify.
  void shutdown(TlsOutput& output);

  bool resumed() const;
  std::string_view version() const;      // static
  std::string_view alpn() const;         // static: "h2", "http/1.1" or ""
  std::string_view server_name() const;  // SNI seen by a server
  std::string_view cipher() const;       // static
  // The reason of `failed`, for logs. Borrowed until the next call.
  const std::string& error_text() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace weir::io

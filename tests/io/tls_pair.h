#pragma once
// Two TLS engines back to back in memory, for tests: what one puts out is fed to the other.

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "io/tls_context.h"
#include "io/tls_engine.h"
#include "tests/io/test_certificates.h"

namespace weir::io {

inline std::span<const std::uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

// An engine whose output spans have `span_bytes`, gathered into `sent`.
struct TlsEnd {
  TlsEnd(TlsContext& context, TlsRole role, const std::string& name = "", std::size_t span = 65536)
      : engine(context, role, name), span_bytes(span) {}

  TlsEngine engine;
  std::size_t span_bytes;
  std::string sent;
  std::string received;
  TlsStatus status = TlsStatus::want_input;

  template <typename Call>
  auto with_output(Call call) {
    std::vector<std::uint8_t> space(span_bytes);
    TlsOutput output{space.data(), space.size(), 0};
    auto result = call(output);
    sent.append(reinterpret_cast<const char*>(space.data()), output.used);
    return result;
  }
  // Until input or the peer is needed.
  void step() {
    do {
      status = with_output([&](TlsOutput& out) { return engine.handshake(out); });
    } while (status == TlsStatus::want_output_room);
    if (status == TlsStatus::ok) read_all();
  }
  void read_all() {
    std::vector<std::uint8_t> space(5000);
    for (;;) {
      const TlsRead read = with_output([&](TlsOutput& out) { return engine.read(space, out); });
      received.append(reinterpret_cast<const char*>(space.data()), read.bytes);
      status = read.status;
      if (status != TlsStatus::ok && status != TlsStatus::want_output_room) return;
    }
  }
  void feed(std::string_view records) {
    engine.feed(bytes_of(records));
    step();
    engine.stash_input();
  }
  void write(std::string_view plaintext) {
    while (!plaintext.empty()) {
      const std::size_t taken =
          with_output([&](TlsOutput& out) { return engine.write(bytes_of(plaintext), out); });
      const bool failed = !engine.error_text().empty();  // what waits then waits for ever
      if (taken == 0 && (failed || !engine.output_waiting())) return;  // or it is not open
      plaintext.remove_prefix(taken);
    }
  }
  void shutdown() {
    with_output([&](TlsOutput& out) {
      engine.shutdown(out);
      return 0;
    });
  }
};

// Carries bytes both ways, `chunk_bytes` at a time, until neither end has any.
inline void exchange(TlsEnd& client, TlsEnd& server, std::size_t chunk_bytes = 1 << 20) {
  client.step();
  while (!client.sent.empty() || !server.sent.empty()) {
    for (auto [from, to] : {std::pair(&client, &server), std::pair(&server, &client)}) {
      const std::string bytes = std::exchange(from->sent, "");
      for (std::size_t at = 0; at < bytes.size(); at += chunk_bytes) {
        to->feed(std::string_view(bytes).substr(at, chunk_bytes));
      }
    }
  }
}

inline std::shared_ptr<TlsContext> make_server(std::vector<CertificateFiles> certificates,
                                               std::shared_ptr<TicketKeys> keys = nullptr) {
  TlsServerConfig config;
  config.certificates = std::move(certificates);
  config.ticket_keys = std::move(keys);
  std::string problem;
  auto context = TlsContext::create_server(config, problem);
  EXPECT_TRUE(context.has_value()) << problem;
  return context.value_or(nullptr);
}

inline std::shared_ptr<TlsContext> make_client(std::vector<std::string> alpn = {"h2", "http/1.1"},
                                               std::string ca_path = "") {
  TlsClientConfig config;
  config.alpn = std::move(alpn);
  config.verify = !ca_path.empty();
  config.ca_path = std::move(ca_path);
  std::string problem;
  auto context = TlsContext::create_client(config, problem);
  EXPECT_TRUE(context.has_value()) << problem;
  return context.value_or(nullptr);
}

}  // namespace weir::io

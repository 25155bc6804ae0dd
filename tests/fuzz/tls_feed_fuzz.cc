// A server's TLS engine fed arbitrary bytes: first an optional honest handshake, so that records of
// an open session are reached too. The first byte chooses how the input is cut, how small the
// output spans are, and whether there is a handshake before it.

#include "io/check.h"
#include "io/tls_tickets.h"
#include "tests/io/tls_pair.h"

namespace {

using weir::io::TlsEnd;
using weir::io::TlsRole;
using weir::io::TlsStatus;

weir::io::TlsContext& server_context() {
  static const auto context =
      weir::io::make_server({weir::io::TestCertificates::localhost()},
                            weir::io::TicketKeys::create(1'700'000'000'000'000'000).value());
  return *context;
}

weir::io::TlsContext& client_context() {
  static const auto context = weir::io::make_client();
  return *context;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  if (bytes == 0 || bytes > 70'000) return 0;
  const std::uint8_t choice = *data;
  std::string_view input(reinterpret_cast<const char*>(data) + 1, bytes - 1);
  constexpr std::size_t kCuts[] = {1, 5, 100, 70'000};
  constexpr std::size_t kSpans[] = {64, 120, 5000, 65'536};
  const std::size_t cut = input.size() > 4000 ? 70'000 : kCuts[choice & 3];

  TlsEnd server(server_context(), TlsRole::server, "", kSpans[choice >> 2 & 3]);
  TlsEnd client(client_context(), TlsRole::client, "localhost");
  if ((choice & 16) != 0) {
    weir::io::exchange(client, server);
    WEIR_CHECK(server.engine.handshake_done());
  }
  while (!input.empty() && server.status != TlsStatus::failed) {
    const std::string_view part = input.substr(0, cut);
    input.remove_prefix(part.size());
    server.feed(part);
  }
  server.write("an answer");
  server.shutdown();
  // Nobody but the client could have made a record that decrypts.
  WEIR_CHECK(server.received.empty());
  WEIR_CHECK(server.status != TlsStatus::failed || !server.engine.error_text().empty());
  return 0;
}

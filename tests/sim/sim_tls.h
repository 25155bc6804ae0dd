#pragma once
// The TLS contexts of a simulated server and its clients. Signatures of Ed25519 have one length, so
// that equal seeds are equal runs.

#include "tests/io/test_certificates.h"
#include "tests/sim/sim_clients.h"

namespace weir::sim {

inline TlsContexts make_tls_contexts() {
  std::string problem;
  const io::CertificateFiles files = io::TestCertificates::shared().make(
      "simulated", io::TestCertificates::KeyType::ed25519, "DNS:localhost");
  TlsContexts contexts;
  io::TlsServerConfig server_config;
  server_config.certificates = {files};
  contexts.server = io::TlsContext::create_server(server_config, problem).value();
  const auto client = [&](const char* alpn) {
    return io::TlsContext::create_client({.ca_path = files.certificate_path, .alpn = {alpn}},
                                         problem)
        .value();
  };
  contexts.http1_client = client("http/1.1");
  contexts.http2_client = client("h2");
  return contexts;
}

}  // namespace weir::sim

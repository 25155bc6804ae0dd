#pragma once
// TlsContext: certificates, ALPN, tickets and cipher policy for many engines. Immutable after
// create(); a reload makes a new context and engines keep the old one alive (shared_ptr). Shared by
// all loop threads. TLS 1.2+, AES-128-GCM first, X25519 then P-256, no renegotiation, no
// compression, session cache off, stateless tickets. Several certificates: chosen by SNI, then by
// the client's signature algorithms (ECDSA before RSA). Errors name the file and OpenSSL's reason.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "io/error.h"

struct ssl_ctx_st;

namespace weir::io {

class TicketKeys;

struct CertificateFiles {
  std::string certificate_path;  // PEM chain, leaf first
  std::string key_path;          // PEM private key
};

struct TlsServerConfig {
  // All certificates whose names match the SNI are candidates (one ECDSA and one RSA at most per
  // name); the first pair is the default for unknown names.
  std::vector<CertificateFiles> certificates;
  std::vector<std::string> alpn{"h2", "http/1.1"};
  std::shared_ptr<TicketKeys> ticket_keys;  // may be null: no resumption
};

struct TlsClientConfig {
  std::string ca_path;  // PEM bundle; empty: system store
  bool verify = true;
  std::vector<std::string> alpn{"h2", "http/1.1"};
};

class TlsContext : public std::enable_shared_from_this<TlsContext> {
 public:
  // `problem` receives the full text for the operator when creation fails.
  static Result<std::shared_ptr<TlsContext>> create_server(const TlsServerConfig& config,
                                                           std::string& problem);
  static Result<std::shared_ptr<TlsContext>> create_client(const TlsClientConfig& config,
                                                           std::string& problem);
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

  ssl_ctx_st* native() const;
  // Seconds since the epoch at which the first of the certificates expires; 0 for clients.
  std::int64_t certificate_expiry_unix_s() const;

 private:
  struct Impl;
  explicit TlsContext(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace weir::io

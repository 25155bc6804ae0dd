#include "io/tls_context.h"

#include <openssl/core_names.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <map>
#include <unordered_map>

#include "io/digest.h"
#include "io/tls_openssl.h"
#include "io/tls_tickets.h"

namespace weir::io {
namespace {

constexpr char kCiphers12[] =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
constexpr char kCiphers13[] =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
constexpr char kGroups[] = "X25519:P-256:P-384";
// Tickets of different contexts of one process are interchangeable: same keys, same id context.
constexpr unsigned char kSessionIdContext[] = "weir";

struct Certificate {
  std::string path;
  X509Ptr leaf;
  std::unique_ptr<STACK_OF(X509),
                  OpensslFree<[](STACK_OF(X509) * stack) { sk_X509_pop_free(stack, X509_free); }>>
      chain;
  KeyPtr key;
  std::vector<std::string> names;  // lower case; "*.example.org" for wildcards
};

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

// Never ask on a terminal: an encrypted key is a clear error.
int no_password(char*, int, int, void*) {
  return -1;
}

Result<BioPtr> open_file(const char* what, const std::string& path, std::string& problem) {
  ERR_clear_error();
  BioPtr file(BIO_new_file(path.c_str(), "r"));
  if (file == nullptr) {
    problem = std::string(what) + " " + path + ": cannot open: " + std::strerror(errno);
    ERR_clear_error();
    return fail(Errc::invalid, what);
  }
  return file;
}

void add_name(const ASN1_STRING* value, std::vector<std::string>& names) {
  const std::string_view text(reinterpret_cast<const char*>(ASN1_STRING_get0_data(value)),
                              static_cast<std::size_t>(ASN1_STRING_length(value)));
  if (!text.empty() && text.find('\0') == text.npos) names.push_back(lower(text));
}

// The DNS names of the subject alternative names; the common name where there are none.
std::vector<std::string> names_of(X509* leaf) {
  std::vector<std::string> names;
  auto* alternatives =
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(leaf, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; i < sk_GENERAL_NAME_num(alternatives); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(alternatives, i);
    if (name->type == GEN_DNS) add_name(name->d.dNSName, names);
  }
  GENERAL_NAMES_free(alternatives);
  if (!names.empty()) return names;
  const X509_NAME* subject = X509_get_subject_name(leaf);
  const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  if (at >= 0) add_name(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)), names);
  return names;
}

Result<Certificate> load_certificate(const CertificateFiles& files, std::string& problem) {
  Certificate certificate;
  certificate.path = files.certificate_path;
  Result<BioPtr> file = open_file("certificate", files.certificate_path, problem);
  if (!file) return std::unexpected(file.error());
  certificate.leaf.reset(PEM_read_bio_X509_AUX(file->get(), nullptr, no_password, nullptr));
  if (certificate.leaf == nullptr) {
    problem = "certificate " + files.certificate_path + ": no PEM certificate in it (" +
              take_openssl_reason() + ")";
    return fail(Errc::invalid, "load certificate");
  }
  certificate.chain.reset(sk_X509_new_null());
  while (X509* next = PEM_read_bio_X509(file->get(), nullptr, no_password, nullptr)) {
    sk_X509_push(certificate.chain.get(), next);
  }
  if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE) {
    problem = "certificate " + files.certificate_path + ": broken chain after certificate " +
              std::to_string(sk_X509_num(certificate.chain.get()) + 1) + " (" +
              take_openssl_reason() + ")";
    return fail(Errc::invalid, "load certificate chain");
  }
  ERR_clear_error();

  Result<BioPtr> key_file = open_file("private key", files.key_path, problem);
  if (!key_file) return std::unexpected(key_file.error());
  certificate.key.reset(PEM_read_bio_PrivateKey(key_file->get(), nullptr, no_password, nullptr));
  if (certificate.key == nullptr) {
    problem = "private key " + files.key_path +
              ": no PEM private key that can be read without a password (" + take_openssl_reason() +
              ")";
    return fail(Errc::invalid, "load private key");
  }
  if (X509_check_private_key(certificate.leaf.get(), certificate.key.get()) != 1) {
    ERR_clear_error();
    problem = "private key " + files.key_path + " does not belong to certificate " +
              files.certificate_path;
    return fail(Errc::invalid, "match private key");
  }
  certificate.names = names_of(certificate.leaf.get());
  return certificate;
}

std::int64_t expiry_unix_s(const X509* leaf) {
  std::tm end{};
  return ASN1_TIME_to_tm(X509_get0_notAfter(leaf), &end) == 1 ? timegm(&end) : 0;
}

std::string parent_wildcard(std::string_view name) {
  const std::size_t dot = name.find('.');
  return dot == name.npos ? std::string() : "*" + std::string(name.substr(dot));
}

Result<std::string> alpn_wire(const std::vector<std::string>& protocols, std::string& problem) {
  std::string wire;
  for (const std::string& protocol : protocols) {
    if (protocol.empty() || protocol.size() > 255) {
      problem = "an ALPN protocol name has 1 to 255 bytes";
      return fail(Errc::invalid, "ALPN");
    }
    wire += static_cast<char>(protocol.size());
    wire += protocol;
  }
  return wire;
}

// What both roles share. Fails only for a broken library configuration.
Result<SslCtxPtr> new_context(const SSL_METHOD* method, std::string& problem) {
  ERR_clear_error();
  SslCtxPtr context(SSL_CTX_new(method));
  const bool good = context != nullptr &&
                    SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION) == 1 &&
                    SSL_CTX_set_cipher_list(context.get(), kCiphers12) == 1 &&
                    SSL_CTX_set_ciphersuites(context.get(), kCiphers13) == 1 &&
                    SSL_CTX_set1_groups_list(context.get(), kGroups) == 1;
  if (!good) {
    problem = "the TLS library refuses the cipher policy: " + take_openssl_reason();
    return fail(Errc::invalid, "TLS context");
  }
  SSL_CTX_set_mode(context.get(), SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                         SSL_OP_CIPHER_SERVER_PREFERENCE |
                                         SSL_OP_PRIORITIZE_CHACHA);
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  return context;
}

}  // namespace

struct TlsContext::Impl {
  std::vector<SslCtxPtr> contexts;  // the first is the default
  std::unordered_map<std::string, SSL_CTX*> by_name;
  std::string alpn;  // wire form, in order of preference
  std::shared_ptr<TicketKeys> ticket_keys;
  std::int64_t expires_unix_s = 0;

  static Impl& of(SSL* ssl) {
    return *static_cast<Impl*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
  }
  static int choose_certificate(SSL* ssl, int*, void*) noexcept;
  static int choose_protocol(SSL*, const unsigned char** out, unsigned char* out_bytes,
                             const unsigned char* offered, unsigned int offered_bytes,
                             void* self) noexcept;
  static int ticket_key(SSL* ssl, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher,
                        EVP_MAC_CTX* mac, int encrypt) noexcept;

  // Indexes of the certificates for `name`: at most one per key type, an exact name before a
  // wildcard.
  static Result<std::vector<std::size_t>> candidates(const std::vector<Certificate>& certificates,
                                                     const std::string& name, std::string& problem);
  Result<SSL_CTX*> add_context(const std::vector<Certificate>& certificates,
                               const std::vector<std::size_t>& chosen, std::string& problem);
  Result<void> build_server(const std::vector<Certificate>& certificates, std::string& problem);
};

int TlsContext::Impl::choose_certificate(SSL* ssl, int*, void*) noexcept {
  const char* asked = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  if (asked == nullptr) return SSL_TLSEXT_ERR_NOACK;
  std::string name = lower(asked);
  if (name.ends_with('.')) name.pop_back();
  const Impl& self = of(ssl);
  auto found = self.by_name.find(name);
  if (found == self.by_name.end()) found = self.by_name.find(parent_wildcard(name));
  if (found == self.by_name.end()) return SSL_TLSEXT_ERR_NOACK;
  SSL_set_SSL_CTX(ssl, found->second);
  return SSL_TLSEXT_ERR_OK;
}

int TlsContext::Impl::choose_protocol(SSL*, const unsigned char** out, unsigned char* out_bytes,
                                      const unsigned char* offered, unsigned int offered_bytes,
                                      void* self) noexcept {
  const std::string& ours = static_cast<Impl*>(self)->alpn;
  unsigned char* chosen = nullptr;
  if (SSL_select_next_proto(&chosen, out_bytes, reinterpret_cast<const unsigned char*>(ours.data()),
                            static_cast<unsigned int>(ours.size()), offered,
                            offered_bytes) != OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;  // RFC 7301 §3.2: no_application_protocol
  }
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

int TlsContext::Impl::ticket_key(SSL* ssl, unsigned char* name, unsigned char* iv,
                                 EVP_CIPHER_CTX* cipher, EVP_MAC_CTX* mac, int encrypt) noexcept {
  const TicketKeys& keys = *of(ssl).ticket_keys;
  TicketKey key;
  bool renew = false;
  if (encrypt != 0) {
    key = keys.current();
    std::memcpy(name, key.name.data(), key.name.size());
    fill_random({iv, 16});
  } else if (!keys.find(name, key, renew)) {
    return 0;  // unknown or outlived key: full handshake
  }
  OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key.hmac_key.data(),
                                        key.hmac_key.size()),
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, const_cast<char*>("sha256"), 0),
      OSSL_PARAM_construct_end()};
  const bool good =
      EVP_MAC_CTX_set_params(mac, parameters) == 1 &&
      EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), nullptr, key.aes_key.data(), iv, encrypt) == 1;
  wipe({reinterpret_cast<std::uint8_t*>(&key), sizeof key});
  if (!good) return -1;
  // TLS 1.3 clients use a ticket once (RFC 8446 C.4), so each resumption brings the next.
  return renew || SSL_version(ssl) == TLS1_3_VERSION ? 2 : 1;
}

Result<std::vector<std::size_t>> TlsContext::Impl::candidates(
    const std::vector<Certificate>& certificates, const std::string& name, std::string& problem) {
  std::map<int, std::size_t> by_type;
  for (const std::string& pattern : {name, parent_wildcard(name)}) {
    std::map<int, std::size_t> matching;
    for (std::size_t i = 0; i < certificates.size(); ++i) {
      const Certificate& certificate = certificates[i];
      if (std::ranges::find(certificate.names, pattern) == certificate.names.end()) continue;
      const auto [other, added] = matching.emplace(EVP_PKEY_get_base_id(certificate.key.get()), i);
      if (added) continue;
      problem = "certificates " + certificates[other->second].path + " and " + certificate.path +
                " have the same key type and both name " + pattern;
      return fail(Errc::invalid, "choose certificates");
    }
    by_type.merge(matching);
  }
  std::vector<std::size_t> chosen;
  for (const auto& [type, index] : by_type) chosen.push_back(index);
  std::ranges::sort(chosen);
  return chosen;
}

Result<SSL_CTX*> TlsContext::Impl::add_context(const std::vector<Certificate>& certificates,
                                               const std::vector<std::size_t>& chosen,
                                               std::string& problem) {
  Result<SslCtxPtr> created = new_context(TLS_server_method(), problem);
  if (!created) return std::unexpected(created.error());
  SSL_CTX* context = created->get();
  for (const std::size_t index : chosen) {
    const Certificate& certificate = certificates[index];
    if (SSL_CTX_use_cert_and_key(context, certificate.leaf.get(), certificate.key.get(),
                                 certificate.chain.get(), 1) != 1) {
      problem = "certificate " + certificate.path + ": " + take_openssl_reason();
      return fail(Errc::invalid, "use certificate");
    }
  }
  SSL_CTX_set_app_data(context, this);
  SSL_CTX_set_session_id_context(context, kSessionIdContext, sizeof kSessionIdContext - 1);
  SSL_CTX_set_tlsext_servername_callback(context, &choose_certificate);
  if (!alpn.empty()) SSL_CTX_set_alpn_select_cb(context, &choose_protocol, this);
  if (ticket_keys != nullptr) {
    SSL_CTX_set_tlsext_ticket_key_evp_cb(context, &ticket_key);
    SSL_CTX_set_num_tickets(context, 1);
    SSL_CTX_set_timeout(context, std::chrono::ceil<std::chrono::seconds>(kTicketRotation).count());
  } else {
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(context, 0);
  }
  contexts.push_back(std::move(*created));
  return context;
}

Result<void> TlsContext::Impl::build_server(const std::vector<Certificate>& certificates,
                                            std::string& problem) {
  std::map<std::vector<std::size_t>, SSL_CTX*> made;  // names with the same certificates share one
  for (const Certificate& certificate : certificates) {
    const std::int64_t expiry = expiry_unix_s(certificate.leaf.get());
    expires_unix_s = expires_unix_s == 0 ? expiry : std::min(expires_unix_s, expiry);
    std::vector<std::string> names = certificate.names;
    if (names.empty() && made.empty()) names.emplace_back();  // nameless, but it may be the default
    for (const std::string& name : names) {
      std::vector<std::size_t> chosen{0};
      if (!name.empty()) {
        Result<std::vector<std::size_t>> found = candidates(certificates, name, problem);
        if (!found) return std::unexpected(found.error());
        chosen = std::move(*found);
      }
      SSL_CTX*& context = made[chosen];
      if (context == nullptr) {
        Result<SSL_CTX*> added = add_context(certificates, chosen, problem);
        if (!added) return std::unexpected(added.error());
        context = *added;
      }
      if (!name.empty()) by_name[name] = context;
    }
  }
  return {};
}

Result<std::shared_ptr<TlsContext>> TlsContext::create_server(const TlsServerConfig& config,
                                                              std::string& problem) {
  if (config.certificates.empty()) {
    problem = "no TLS certificate is configured";
    return fail(Errc::invalid, "TLS server");
  }
  auto impl = std::make_unique<Impl>();
  Result<std::string> alpn = alpn_wire(config.alpn, problem);
  if (!alpn) return std::unexpected(alpn.error());
  impl->alpn = std::move(*alpn);
  impl->ticket_keys = config.ticket_keys;
  std::vector<Certificate> certificates;
  for (const CertificateFiles& files : config.certificates) {
    Result<Certificate> certificate = load_certificate(files, problem);
    if (!certificate) return std::unexpected(certificate.error());
    certificates.push_back(std::move(*certificate));
  }
  const Result<void> built = impl->build_server(certificates, problem);
  if (!built) return std::unexpected(built.error());
  return std::shared_ptr<TlsContext>(new TlsContext(std::move(impl)));
}

Result<std::shared_ptr<TlsContext>> TlsContext::create_client(const TlsClientConfig& config,
                                                              std::string& problem) {
  auto impl = std::make_unique<Impl>();
  Result<std::string> alpn = alpn_wire(config.alpn, problem);
  if (!alpn) return std::unexpected(alpn.error());
  Result<SslCtxPtr> created = new_context(TLS_client_method(), problem);
  if (!created) return std::unexpected(created.error());
  SSL_CTX* context = created->get();
  if (!alpn->empty() &&
      SSL_CTX_set_alpn_protos(context, reinterpret_cast<const unsigned char*>(alpn->data()),
                              static_cast<unsigned int>(alpn->size())) != 0) {
    problem = "ALPN protocols refused: " + take_openssl_reason();
    return fail(Errc::invalid, "TLS client");
  }
  const bool loaded = config.ca_path.empty()
                          ? SSL_CTX_set_default_verify_paths(context) == 1
                          : SSL_CTX_load_verify_file(context, config.ca_path.c_str()) == 1;
  if (!loaded) {
    problem = "certificate authorities " +
              (config.ca_path.empty() ? std::string("of the system") : config.ca_path) + ": " +
              take_openssl_reason();
    return fail(Errc::invalid, "TLS client");
  }
  SSL_CTX_set_verify(context, config.verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nullptr);
  SSL_CTX_set_app_data(context, impl.get());
  impl->contexts.push_back(std::move(*created));
  return std::shared_ptr<TlsContext>(new TlsContext(std::move(impl)));
}

TlsContext::TlsContext(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TlsContext::~TlsContext() = default;

ssl_ctx_st* TlsContext::native() const {
  return impl_->contexts.front().get();
}

std::int64_t TlsContext::certificate_expiry_unix_s() const {
  return impl_->expires_unix_s;
}

}  // namespace weir::io

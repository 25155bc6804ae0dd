#include "io/tls_context.h"

#include <openssl/ssl.h>

#include <ctime>

#include "tests/io/tls_pair.h"

namespace weir::io {
namespace {

using KeyType = TestCertificates::KeyType;

// The leaf a client of `name` is shown: what its file name was.
std::string shown_to(TlsContext& server_context, const std::string& name,
                     const char* signature_algorithms = nullptr, int version_max = 0) {
  auto client_context = make_client();
  if (signature_algorithms != nullptr) {
    SSL_CTX_set1_sigalgs_list(client_context->native(), signature_algorithms);
  }
  if (version_max != 0) SSL_CTX_set_max_proto_version(client_context->native(), version_max);
  static std::string common_name;
  common_name.clear();
  SSL_CTX_set_cert_verify_callback(
      client_context->native(),
      [](X509_STORE_CTX* store, void*) {
        char text[64] = "";
        X509_NAME_get_text_by_NID(X509_get_subject_name(X509_STORE_CTX_get0_cert(store)),
                                  NID_commonName, text, sizeof text);
        common_name = text;
        return 1;
      },
      nullptr);
  TlsEnd client(*client_context, TlsRole::client, name);
  TlsEnd server(server_context, TlsRole::server);
  exchange(client, server);
  return server.engine.handshake_done() && client.engine.handshake_done() ? common_name : "failed";
}

TEST(TlsContext, chooses_the_certificate_by_exact_name_then_wildcard_then_default) {
  const TestCertificates made;
  auto context = make_server({
      made.make("default", KeyType::ecdsa, "DNS:first.test", "default"),
      made.make("exact", KeyType::ecdsa, "DNS:git.example.test,DNS:other.test", "exact"),
      made.make("wild", KeyType::ecdsa, "DNS:*.example.test", "wild"),
      made.make("named", KeyType::ecdsa, "", "common.test"),
  });
  for (const auto& [name, wanted] :
       std::initializer_list<std::pair<const char*, const char*>>{{"git.example.test", "exact"},
                                                                  {"GIT.Example.TEST", "exact"},
                                                                  {"other.test", "exact"},
                                                                  {"hg.example.test", "wild"},
                                                                  {"a.hg.example.test", "default"},
                                                                  {"example.test", "default"},
                                                                  {"common.test", "common.test"},
                                                                  {"first.test", "default"},
                                                                  {"unknown.test", "default"},
                                                                  {"", "default"},
                                                                  {"127.0.0.1", "default"}}) {
    EXPECT_EQ(shown_to(*context, name), wanted) << name;
  }
}

TEST(TlsContext, offers_ecdsa_first_and_rsa_to_those_who_need_it) {
  const TestCertificates made;
  auto context = make_server({made.make("rsa", KeyType::rsa, "DNS:git.test", "rsa"),
                              made.make("ec", KeyType::ecdsa, "DNS:git.test", "ec")});
  constexpr const char* kRsaOnly = "RSA-PSS+SHA256:RSA+SHA256";
  for (const char* name : {"git.test", "unknown.test"}) {
    EXPECT_EQ(shown_to(*context, name), "ec");
    EXPECT_EQ(shown_to(*context, name, nullptr, TLS1_2_VERSION), "ec");
    EXPECT_EQ(shown_to(*context, name, kRsaOnly), "rsa");
    EXPECT_EQ(shown_to(*context, name, kRsaOnly, TLS1_2_VERSION), "rsa");
  }
}

TEST(TlsContext, a_wildcard_fills_in_the_key_type_an_exact_name_lacks) {
  const TestCertificates made;
  auto context = make_server({made.make("ec", KeyType::ecdsa, "DNS:git.example.test", "ec"),
                              made.make("rsa", KeyType::rsa, "DNS:*.example.test", "rsa")});
  EXPECT_EQ(shown_to(*context, "git.example.test"), "ec");
  EXPECT_EQ(shown_to(*context, "git.example.test", "RSA-PSS+SHA256"), "rsa");
}

TEST(TlsContext, refuses_tls_1_1) {
  auto context = make_server({TestCertificates::localhost()});
  auto client_context = make_client();
  SSL_CTX_set_security_level(client_context->native(), 0);
  SSL_CTX_set_min_proto_version(client_context->native(), TLS1_VERSION);
  SSL_CTX_set_max_proto_version(client_context->native(), TLS1_1_VERSION);
  SSL_CTX_set_cipher_list(client_context->native(), "ALL");
  TlsEnd client(*client_context, TlsRole::client);
  TlsEnd server(*context, TlsRole::server);
  exchange(client, server);
  EXPECT_EQ(server.status, TlsStatus::failed);
  EXPECT_EQ(server.engine.error_text(), "unsupported protocol");
}

TEST(TlsContext, tells_when_the_first_certificate_expires) {
  const auto expiry = make_server({TestCertificates::localhost()})->certificate_expiry_unix_s() -
                      std::time(nullptr);
  EXPECT_GT(expiry, 0);
  EXPECT_LE(expiry, 3600);
  EXPECT_EQ(make_client()->certificate_expiry_unix_s(), 0);
}

TEST(TlsContext, problems_name_the_file_and_the_reason) {
  const TestCertificates made;
  const CertificateFiles good = made.make("good", KeyType::ecdsa, "DNS:a.test");
  const CertificateFiles other = made.make("other", KeyType::ecdsa, "DNS:a.test");
  const std::string text = made.write("text", "hello\n");
  const std::string encrypted =
      made.write("encrypted",
                 "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIGjMF8GCSqGSIb3DQEFDTBSMDEGCSqGSIb3DQ"
                 "EF\n-----END ENCRYPTED PRIVATE KEY-----\n");
  const struct {
    std::vector<CertificateFiles> certificates;
    std::string wanted;
  } cases[] = {
      {{}, "no TLS certificate is configured"},
      {{{made.path("none"), good.key_path}},
       "certificate " + made.path("none") + ": cannot open: No such file or directory"},
      {{{good.certificate_path, made.path("none")}},
       "private key " + made.path("none") + ": cannot open: No such file or directory"},
      {{{text, good.key_path}}, "certificate " + text + ": no PEM certificate in it"},
      {{{good.certificate_path, text}}, "private key " + text + ": no PEM private key"},
      {{{good.certificate_path, good.certificate_path}}, ": no PEM private key"},
      {{{good.certificate_path, encrypted}}, "private key " + encrypted + ": no PEM private key"},
      {{{good.certificate_path, other.key_path}},
       "private key " + other.key_path + " does not belong to certificate " +
           good.certificate_path},
      {{good, other}, "have the same key type and both name a.test"},
  };
  for (const auto& [certificates, wanted] : cases) {
    TlsServerConfig config;
    config.certificates = certificates;
    std::string problem;
    EXPECT_FALSE(TlsContext::create_server(config, problem).has_value());
    EXPECT_NE(problem.find(wanted), problem.npos) << problem << "\n wanted: " << wanted;
  }
  TlsClientConfig config;
  config.ca_path = made.path("none");
  std::string problem;
  EXPECT_FALSE(TlsContext::create_client(config, problem).has_value());
  EXPECT_NE(problem.find(made.path("none")), problem.npos) << problem;
}

}  // namespace
}  // namespace weir::io

#pragma once
// Self-signed certificates made on the spot, for tests of TLS: no network, no tool. Files live in a
// folder of their own, removed with the object.

#include <gtest/gtest.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "io/tls_context.h"

namespace weir::io {

class TestCertificates {
 public:
  TestCertificates() {
    std::string pattern = (std::filesystem::temp_directory_path() / "weir-test-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
  }
  ~TestCertificates() { std::filesystem::remove_all(folder_); }
  TestCertificates(const TestCertificates&) = delete;
  TestCertificates& operator=(const TestCertificates&) = delete;

  enum class KeyType { ecdsa, rsa, ed25519 };

  // `alternatives`: as openssl.cnf has them, "DNS:a.test,DNS:*.b.test"; empty: none, only the
  // common name. The certificate file is also what a client trusts (ca_path).
  CertificateFiles make(const std::string& file, KeyType type, const std::string& alternatives,
                        const std::string& common_name = "weir test") const {
    CertificateFiles files{(folder_ / (file + ".pem")).string(),
                           (folder_ / (file + ".key")).string()};
    EVP_PKEY* key = type == KeyType::ecdsa ? EVP_EC_gen("P-256")
                    : type == KeyType::rsa ? EVP_RSA_gen(2048U)
                                           : EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519");
    X509* certificate = X509_new();
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), static_cast<long>(std::rand()) + 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_NAME* name = X509_get_subject_name(certificate);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                               reinterpret_cast<const unsigned char*>(common_name.c_str()), -1, -1,
                               0);
    X509_set_issuer_name(certificate, name);
    X509_set_pubkey(certificate, key);
    if (!alternatives.empty()) {
      X509_EXTENSION* extension =
          X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, alternatives.c_str());
      X509_add_ext(certificate, extension, -1);
      X509_EXTENSION_free(extension);
    }
    EXPECT_GT(X509_sign(certificate, key, type == KeyType::ed25519 ? nullptr : EVP_sha256()), 0);
    std::FILE* out = std::fopen(files.certificate_path.c_str(), "w");
    EXPECT_EQ(PEM_write_X509(out, certificate), 1);
    std::fclose(out);
    out = std::fopen(files.key_path.c_str(), "w");
    EXPECT_EQ(PEM_write_PrivateKey(out, key, nullptr, nullptr, 0, nullptr, nullptr), 1);
    std::fclose(out);
    X509_free(certificate);
    EVP_PKEY_free(key);
    return files;
  }

  std::string write(const std::string& file, const std::string& text) const {
    const std::string path = (folder_ / file).string();
    std::FILE* out = std::fopen(path.c_str(), "w");
    std::fwrite(text.data(), 1, text.size(), out);
    std::fclose(out);
    return path;
  }
  std::string path(const std::string& file) const { return (folder_ / file).string(); }

  // One server certificate for localhost, made once a process.
  static const TestCertificates& shared() {
    static const TestCertificates folder;
    return folder;
  }
  static CertificateFiles localhost() {
    static const CertificateFiles files =
        shared().make("localhost", KeyType::ecdsa, "DNS:localhost,IP:127.0.0.1");
    return files;
  }

 private:
  std::filesystem::path folder_;
};

}  // namespace weir::io

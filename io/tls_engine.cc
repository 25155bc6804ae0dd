#include "io/tls_engine.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "io/buffer_recycler.h"
#include "io/check.h"
#include "io/tls_context.h"
#include "io/tls_openssl.h"

namespace weir::io {
namespace {

constexpr std::size_t kRecordOverheadMax = kTlsRecordBytesMax - kRecordPlaintextBytesMax;

}  // namespace

struct TlsEngine::Impl {
  std::shared_ptr<TlsContext> context;  // outlives `ssl`: its callbacks use it
  SslPtr ssl;
  std::span<const std::uint8_t> input;  // fed or stashed, not yet consumed
  std::vector<std::uint8_t> stash;
  TlsOutput* output = nullptr;      // during a call
  std::vector<std::uint8_t> spill;  // records that did not fit
  std::size_t spill_sent = 0;
  bool failed = false;
  std::string error;

  void drain_spill(TlsOutput& out);
  // Before each OpenSSL call. False: waiting records must leave first.
  bool begin(TlsOutput& out);
  // After one that did not succeed.
  TlsStatus explain(int result);
  TlsStatus fail_now(std::string why);

  static const BIO_METHOD* bio_method();
  static int bio_read(BIO* bio, char* into, std::size_t bytes, std::size_t* read) noexcept;
  static int bio_write(BIO* bio, const char* from, std::size_t bytes,
                       std::size_t* written) noexcept;
  static long bio_control(BIO* bio, int command, long, void*) noexcept;
};

const BIO_METHOD* TlsEngine::Impl::bio_method() {
  static const BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "weir spans");
    WEIR_CHECK(made != nullptr);
    BIO_meth_set_read_ex(made, &bio_read);
    BIO_meth_set_write_ex(made, &bio_write);
    BIO_meth_set_ctrl(made, &bio_control);
    return made;
  }();
  return method;
}

int TlsEngine::Impl::bio_read(BIO* bio, char* into, std::size_t bytes, std::size_t* read) noexcept {
  auto* self = static_cast<Impl*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  *read = std::min(bytes, self->input.size());
  if (*read == 0) {
    BIO_set_retry_read(bio);
    return 0;
  }
  std::memcpy(into, self->input.data(), *read);
  self->input = self->input.subspan(*read);
  if (self->input.empty() && !self->stash.empty()) self->stash = {};
  return 1;
}

// Never refuses: what does not fit spills. So a record is never half handed over, and a caller may
// come back with other bytes.
int TlsEngine::Impl::bio_write(BIO* bio, const char* from, std::size_t bytes,
                               std::size_t* written) noexcept {
  auto* self = static_cast<Impl*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  std::size_t fits = 0;
  if (self->output != nullptr && self->spill.empty()) {
    TlsOutput& out = *self->output;
    fits = std::min(bytes, out.capacity - out.used);
    if (fits > 0) std::memcpy(out.data + out.used, from, fits);
    out.used += fits;
  }
  self->spill.insert(self->spill.end(), from + fits, from + bytes);
  *written = bytes;
  return 1;
}

long TlsEngine::Impl::bio_control(BIO* bio, int command, long, void*) noexcept {
  switch (command) {
    case BIO_CTRL_FLUSH:
      return 1;
    case BIO_CTRL_PENDING:
      return static_cast<long>(static_cast<Impl*>(BIO_get_data(bio))->input.size());
    default:
      return 0;
  }
}

void TlsEngine::Impl::drain_spill(TlsOutput& out) {
  const std::size_t bytes = std::min(spill.size() - spill_sent, out.capacity - out.used);
  if (bytes > 0) std::memcpy(out.data + out.used, spill.data() + spill_sent, bytes);
  out.used += bytes;
  spill_sent += bytes;
  if (spill_sent < spill.size() || spill.empty()) return;
  spill = {};
  spill_sent = 0;
}

bool TlsEngine::Impl::begin(TlsOutput& out) {
  output = &out;
  if (ERR_peek_error() != 0) ERR_clear_error();  // to clear an empty one is dear
  drain_spill(out);
  return spill.empty();
}

TlsStatus TlsEngine::Impl::fail_now(std::string why) {
  failed = true;
  error = std::move(why);
  ERR_clear_error();
  return TlsStatus::failed;
}

TlsStatus TlsEngine::Impl::explain(int result) {
  switch (SSL_get_error(ssl.get(), result)) {
    case SSL_ERROR_WANT_READ:
      return spill.empty() ? TlsStatus::want_input : TlsStatus::want_output_room;
    case SSL_ERROR_ZERO_RETURN:
      return TlsStatus::closed;
    default: {
      const long verified = SSL_get_verify_result(ssl.get());
      std::string why = take_openssl_reason();
      if (verified != X509_V_OK) why += std::string(": ") + X509_verify_cert_error_string(verified);
      return fail_now(std::move(why));
    }
  }
}

TlsEngine::TlsEngine(TlsContext& context, TlsRole role, const std::string& server_name)
    : impl_(std::make_unique<Impl>()) {
  impl_->context = context.shared_from_this();
  ERR_clear_error();
  impl_->ssl.reset(SSL_new(context.native()));
  BIO* bio = BIO_new(Impl::bio_method());
  WEIR_CHECK(impl_->ssl != nullptr && bio != nullptr);  // out of memory
  BIO_set_data(bio, impl_.get());
  BIO_set_init(bio, 1);
  SSL* ssl = impl_->ssl.get();
  SSL_set_bio(ssl, bio, bio);
  if (role == TlsRole::server) {
    SSL_set_accept_state(ssl);
    return;
  }
  SSL_set_connect_state(ssl);
  if (server_name.empty()) return;
  in6_addr address;
  const bool numeric = inet_pton(AF_INET, server_name.c_str(), &address) == 1 ||
                       inet_pton(AF_INET6, server_name.c_str(), &address) == 1;
  const bool set =
      numeric ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), server_name.c_str()) == 1
              : SSL_set1_host(ssl, server_name.c_str()) == 1 &&
                    SSL_set_tlsext_host_name(ssl, server_name.c_str()) == 1;
  if (!set) impl_->fail_now("server name refused: " + server_name);
}

TlsEngine::~TlsEngine() = default;

void TlsEngine::feed(std::span<const std::uint8_t> records) {
  if (impl_->input.empty()) {
    impl_->input = records;
    return;
  }
  stash_input();
  const std::size_t consumed = impl_->stash.size() - impl_->input.size();
  impl_->stash.insert(impl_->stash.end(), records.begin(), records.end());
  impl_->input = std::span<const std::uint8_t>(impl_->stash).subspan(consumed);
}

std::size_t TlsEngine::input_pending() const {
  return impl_->input.size();
}

void TlsEngine::stash_input() {
  const std::span<const std::uint8_t> input = impl_->input;
  std::vector<std::uint8_t>& stash = impl_->stash;
  if (input.empty() ||
      (!stash.empty() && input.data() + input.size() == stash.data() + stash.size())) {
    return;
  }
  stash.assign(input.begin(), input.end());
  impl_->input = stash;
}

TlsStatus TlsEngine::handshake(TlsOutput& output) {
  if (impl_->failed) return TlsStatus::failed;
  if (!impl_->begin(output)) return TlsStatus::want_output_room;
  const int result = SSL_do_handshake(impl_->ssl.get());
  if (result != 1) return impl_->explain(result);
  return impl_->spill.empty() ? TlsStatus::ok : TlsStatus::want_output_room;
}

bool TlsEngine::handshake_done() const {
  return SSL_is_init_finished(impl_->ssl.get()) == 1;
}

bool TlsEngine::read_exhausted() const {
  const SSL* ssl = impl_->ssl.get();
  return !impl_->failed && impl_->input.empty() && impl_->spill.empty() &&
         SSL_has_pending(ssl) == 0 && SSL_get_shutdown(ssl) == 0;
}

TlsRead TlsEngine::read(std::span<std::uint8_t> plaintext, TlsOutput& output) {
  std::size_t total = 0;
  while (total < plaintext.size()) {
    if (total > 0 && read_exhausted()) break;
    std::size_t bytes = 0;
    TlsStatus status = TlsStatus::failed;
    if (!impl_->failed) {
      status = TlsStatus::want_output_room;
      if (impl_->begin(output)) {
        const int result = SSL_read_ex(impl_->ssl.get(), plaintext.data() + total,
                                       plaintext.size() - total, &bytes);
        status = result == 1 ? TlsStatus::ok : impl_->explain(result);
      }
    }
    total += bytes;
    // What was decrypted is delivered first; the status comes again with the next call.
    if (status != TlsStatus::ok) return {total > 0 ? TlsStatus::ok : status, total};
  }
  return {TlsStatus::ok, total};
}

std::size_t TlsEngine::plaintext_room(const TlsOutput& output) {
  constexpr std::size_t kRecordMax = kRecordPlaintextBytesMax + kRecordOverheadMax;
  const std::size_t left = output.capacity - output.used;
  // write() may have to put the answer to a key update before the first record.
  const std::size_t room = left - std::min(left, kTlsSmallRecordBytesMax);
  const std::size_t rest = room % kRecordMax;
  return room / kRecordMax * kRecordPlaintextBytesMax +
         (rest > kRecordOverheadMax ? rest - kRecordOverheadMax : 0);
}

bool TlsEngine::output_waiting() const {
  return !impl_->spill.empty();
}

std::size_t TlsEngine::write(std::span<const std::uint8_t> plaintext, TlsOutput& output) {
  if (impl_->failed || !impl_->begin(output)) return 0;
  plaintext = plaintext.first(std::min(plaintext.size(), plaintext_room(output)));
  std::size_t total = 0;
  while (total < plaintext.size()) {
    std::size_t bytes = 0;
    const int result =
        SSL_write_ex(impl_->ssl.get(), plaintext.data() + total, plaintext.size() - total, &bytes);
    if (result != 1) {
      // Reading is needed only before the handshake is done: a caller's mistake or a dead session.
      if (impl_->explain(result) != TlsStatus::failed) impl_->fail_now("write refused");
      return total;
    }
    total += bytes;
  }
  return total;
}

void TlsEngine::shutdown(TlsOutput& output) {
  if (impl_->failed || !handshake_done()) return;
  impl_->begin(output);
  SSL_shutdown(impl_->ssl.get());
  ERR_clear_error();
}

bool TlsEngine::resumed() const {
  return SSL_session_reused(impl_->ssl.get()) == 1;
}

std::string_view TlsEngine::version() const {
  return SSL_get_version(impl_->ssl.get());
}

std::string_view TlsEngine::alpn() const {
  const unsigned char* data = nullptr;
  unsigned int bytes = 0;
  SSL_get0_alpn_selected(impl_->ssl.get(), &data, &bytes);
  const std::string_view selected(reinterpret_cast<const char*>(data), bytes);
  for (const std::string_view known : {std::string_view("h2"), std::string_view("http/1.1")}) {
    if (selected == known) return known;
  }
  return "";
}

std::string_view TlsEngine::server_name() const {
  const char* name = SSL_get_servername(impl_->ssl.get(), TLSEXT_NAMETYPE_host_name);
  return name != nullptr ? name : "";
}

std::string_view TlsEngine::cipher() const {
  return SSL_get_cipher_name(impl_->ssl.get());
}

const std::string& TlsEngine::error_text() const {
  return impl_->error;
}

}  // namespace weir::io

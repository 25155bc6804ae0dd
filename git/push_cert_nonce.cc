// The nonce of signed pushes: computed as `git receive-pack` computes it, so that the process which
// later checks the certificate accepts it. Format: git's builtin/receive-pack.c; the path is the
// HMAC's key and the seed its text.

#include "git/service_call.h"
#include "io/digest.h"

namespace weir::git {

std::string push_cert_nonce(const GitEnvironment& environment, const Repository& repository,
                            ObjectFormat format, std::int64_t unix_s) {
  const std::string& seed = environment.push_cert_seed;
  if (seed.empty()) return "";
  const std::string stamp = std::to_string(unix_s);
  const std::string key = repository.git_dir + ":" + stamp;
  return stamp + "-" +
         (format == ObjectFormat::sha1 ? io::to_hex(io::hmac_sha1(key, seed))
                                       : io::to_hex(io::hmac_sha256(key, seed)));
}

}  // namespace weir::git

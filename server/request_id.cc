#include "server/request_id.h"

#include <random>

#include "io/digest.h"

namespace weir::server {
namespace {

constexpr int kCharacters = 16;
constexpr char kAlphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";  // Crockford: no i, l, o, u

std::uint64_t random_bits() {
  // Ids need to be unique, not unguessable: a generator seeded once a thread is enough.
  thread_local std::mt19937_64 generator = [] {
    std::uint64_t seed = 0;
    io::fill_random({reinterpret_cast<std::uint8_t*>(&seed), sizeof seed});
    return std::mt19937_64(seed);
  }();
  return generator();
}

}  // namespace

std::string make_request_id(const io::Clock& clock) {
  const auto ms = static_cast<std::uint64_t>(clock.unix_ns() / 1'000'000);
  const std::uint64_t random = random_bits();
  std::string id(kCharacters, '0');
  for (int i = 0; i < kCharacters / 2; ++i) {
    id[static_cast<std::size_t>(7 - i)] = kAlphabet[(ms >> (5 * i)) & 31];
    id[static_cast<std::size_t>(15 - i)] = kAlphabet[(random >> (5 * i)) & 31];
  }
  return id;
}

}  // namespace weir::server

#include "git/repository_generation.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "io/durable_file.h"
#include "io/unique_fd.h"

namespace weir::git {
namespace {

bool take_number(std::string_view& text, std::uint64_t& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end == text.data() + text.size() || *end != ' ') return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()) + 1);
  return true;
}

}  // namespace

void RepositoryGeneration::load() {
  loaded_ = true;
  if (path_.empty()) return;
  const io::UniqueFd fd(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return;
  std::array<char, 256> buffer;
  const ssize_t bytes = ::read(fd.get(), buffer.data(), buffer.size());
  if (bytes <= 0) return;
  std::string_view text(buffer.data(), static_cast<std::size_t>(bytes));
  std::uint64_t version = 0;
  std::uint64_t generation = 0;
  std::uint64_t reserved = 0;
  // Malformed: as if it were lost; the clock gives a higher number.
  if (!take_number(text, version) || version != 1 || !take_number(text, generation) ||
      !take_number(text, reserved) || !text.ends_with('\n') || reserved < generation) {
    return;
  }
  text.remove_suffix(1);
  generation_ = generation;
  reserved_ = reserved;
  // With numbers outstanding the last digest is not known.
  if (reserved == generation) digest_ = text;
}

std::uint64_t RepositoryGeneration::advance_blocking(std::string_view digest, std::int64_t unix_ms,
                                                     bool& stored) {
  const bool first = !loaded_;
  if (first) load();
  stored = true;
  if (generation_ != 0 && digest_ == digest) return generation_;
  digest_ = digest;
  if (generation_ == 0) {
    generation_ = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(unix_ms));
    reserved_ = generation_;
  } else if (first) {
    generation_ = reserved_ + 1;
    reserved_ = generation_;
  } else {
    ++generation_;
    if (generation_ <= reserved_) return generation_;
    reserved_ = generation_ + kGenerationBlock;
  }
  stored = store().has_value();
  if (!stored) reserved_ = generation_;  // the next change tries again
  return generation_;
}

void RepositoryGeneration::seal_blocking() {
  if (generation_ == 0 || reserved_ == generation_) return;
  reserved_ = generation_;
  static_cast<void>(store());
}

io::Result<void> RepositoryGeneration::store() const {
  if (path_.empty()) return {};
  const std::string text =
      "1 " + std::to_string(generation_) + " " + std::to_string(reserved_) + " " + digest_ + "\n";
  return io::write_durably(path_, text);
}

}  // namespace weir::git

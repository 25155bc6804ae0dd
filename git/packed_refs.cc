#include "git/packed_refs.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "git/ref_name.h"
#include "io/check.h"

namespace weir::git {
namespace {

constexpr std::array<std::uint8_t, 256> make_hex_classes() {
  std::array<std::uint8_t, 256> classes{};  // 0 lower-case digit, 1 upper-case digit, 2 no digit
  for (std::size_t c = 0; c < 256; ++c) {
    const bool lower = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
    classes[c] = lower ? 0 : c >= 'A' && c <= 'F' ? 1 : 2;
  }
  return classes;
}
constexpr std::array<std::uint8_t, 256> kHexClasses = make_hex_classes();

// Lower-cases the digits in place; false if one is none.
bool normalize_hex(char* hex, std::size_t count) {
  std::uint8_t seen = 0;
  for (std::size_t i = 0; i < count; ++i) {
    seen |= kHexClasses[static_cast<unsigned char>(hex[i])];
  }
  if (seen == 0) return true;
  if ((seen & 2) != 0) return false;
  for (std::size_t i = 0; i < count; ++i) {
    if (hex[i] >= 'A' && hex[i] <= 'F') hex[i] = static_cast<char>(hex[i] - 'A' + 'a');
  }
  return true;
}

struct Traits {
  bool peeled = false;
  bool fully_peeled = false;
};

// "# pack-refs with: peeled fully-peeled sorted "; whether the lines are sorted is looked at
// instead.
bool parse_header(std::string_view text, Traits& traits) {
  constexpr std::string_view kStart = "# pack-refs with:";
  if (!text.starts_with(kStart)) return false;
  text.remove_prefix(kStart.size());
  while (!text.empty()) {
    const std::size_t space = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, space);
    if (word == "peeled") traits.peeled = true;
    if (word == "fully-peeled") traits.fully_peeled = true;
    text.remove_prefix(std::min(space + 1, text.size()));
  }
  return true;
}

}  // namespace

RefLine RefLine::at(const char* line, std::size_t hex_bytes) {
  RefLine ref;
  ref.hex = {line, hex_bytes};
  ref.name = ref_line_name(line, hex_bytes);
  const char* next = ref.name.data() + ref.name.size() + 1;
  if (*next == '@') {
    const char* end = static_cast<const char*>(rawmemchr(next, '\n'));
    ref.target = {next + 1, static_cast<std::size_t>(end - next - 1)};
    next = end + 1;
  }
  if (*next == '^') {
    ref.peeled_hex = {next + 1, hex_bytes};
    next += hex_bytes + 2;
  }
  ref.whole = {line, static_cast<std::size_t>(next - line)};
  return ref;
}

bool begins_chunk(std::string_view name) {
  // The last bytes of a name differ most between neighbours.
  std::uint64_t tail = 0;
  const std::size_t bytes = std::min(name.size(), sizeof tail);
  std::memcpy(&tail, name.data() + name.size() - bytes, bytes);
  return (tail * 0x9e3779b97f4a7c15U) >> 55 == 0;
}

io::Result<void> PackedRefs::index(std::size_t& line) {
  const std::size_t hex = hex_bytes();
  const auto corrupt = [] { return io::fail(io::Errc::corrupt, "packed-refs"); };
  if (bytes_.size() > kPackedRefsBytesMax) return io::fail(io::Errc::limit, "packed-refs");

  line = 1;
  Traits traits;
  char* const begin = bytes_.data();
  char* const end = begin + bytes_.size();
  char* at = begin;
  if (at < end && *at == '#') {
    char* eol = static_cast<char*>(std::memchr(at, '\n', static_cast<std::size_t>(end - at)));
    if (eol == nullptr || !parse_header({at, eol}, traits)) return corrupt();
    at = eol + 1;
    ++line;
  }
  offsets_.reserve(static_cast<std::size_t>(end - at) / (hex + 24));

  bool sorted = true;
  std::string_view previous;
  for (; at < end; ++line) {
    const auto left = static_cast<std::size_t>(end - at);
    if (left < hex + 3 || !normalize_hex(at, hex)) return corrupt();
    if (at[hex] != ' ' && at[hex] != '\t') return corrupt();
    at[hex] = ' ';
    char* const eol = static_cast<char*>(std::memchr(at + hex, '\n', left - hex));
    if (eol == nullptr) return corrupt();
    const std::string_view name(at + hex + 1, eol);
    char* next = eol + 1;
    const bool peeled = next < end && *next == '^';
    if (peeled) {
      if (static_cast<std::size_t>(end - next) < hex + 2 || !normalize_hex(next + 1, hex) ||
          next[hex + 1] != '\n') {
        ++line;
        return corrupt();
      }
      next += hex + 2;
    }
    if (is_ref_name(name)) {
      const auto number = static_cast<std::uint32_t>(offsets_.size());
      offsets_.push_back(static_cast<std::uint32_t>(at - begin));
      const bool known =
          peeled || traits.fully_peeled || (traits.peeled && name.starts_with("refs/tags/"));
      if (!known) unpeeled_.push_back(number);
      if (begins_chunk(name)) chunk_starts_.push_back(number);
      sorted = sorted && previous < name;
      previous = name;
    } else {
      ++skipped_;
    }
    if (peeled) ++line;
    at = next;
  }
  line = 0;
  if (!sorted) sort();
  memory_.grow(bytes());
  return {};
}

// Rare: an old or foreign writer. Of equal names the first is kept.
void PackedRefs::sort() {
  std::vector<bool> unknown(offsets_.size());
  for (const std::uint32_t number : unpeeled_) unknown[number] = true;
  std::vector<std::uint32_t> order(offsets_.size());
  for (std::uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  const auto name_of = [this](std::uint32_t number) { return name(number); };
  std::ranges::sort(order, {},
                    [&](std::uint32_t number) { return std::pair(name_of(number), number); });
  const auto repeated = std::ranges::unique(order, {}, name_of);
  skipped_ += repeated.size();
  order.erase(repeated.begin(), repeated.end());

  std::vector<std::uint32_t> offsets(order.size());
  unpeeled_.clear();
  chunk_starts_.clear();
  for (std::uint32_t i = 0; i < order.size(); ++i) {
    offsets[i] = offsets_[order[i]];
    if (unknown[order[i]]) unpeeled_.push_back(i);
    if (begins_chunk(name(order[i]))) chunk_starts_.push_back(i);
  }
  offsets_ = std::move(offsets);
}

io::Result<std::shared_ptr<const PackedRefs>> PackedRefs::parse(std::string bytes,
                                                                ObjectFormat format,
                                                                std::size_t& line) {
  std::shared_ptr<PackedRefs> refs(new PackedRefs(std::move(bytes), format));
  const auto indexed = refs->index(line);
  if (!indexed) return std::unexpected(indexed.error());
  return refs;
}

std::size_t PackedRefs::lower_bound(std::string_view wanted) const {
  std::size_t low = 0;
  std::size_t high = size();
  while (low < high) {
    const std::size_t middle = low + (high - low) / 2;
    if (name(middle) < wanted) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

io::Result<std::shared_ptr<const PackedRefs>> PackedRefs::read_blocking(
    const std::string& path, ObjectFormat format, const std::shared_ptr<const PackedRefs>& same,
    FileStamp same_stamp, FileStamp& stamp, std::size_t& line) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  stamp = {};
  if (fd < 0) {
    if (errno != ENOENT) return io::fail_errno("open packed-refs");
    return parse({}, format, line);
  }
  const auto read_all = [&]() -> io::Result<std::shared_ptr<const PackedRefs>> {
    struct stat status;
    if (fstat(fd, &status) != 0) return io::fail_errno("stat packed-refs");
    if (!S_ISREG(status.st_mode)) return io::fail(io::Errc::corrupt, "packed-refs is no file");
    stamp = FileStamp::of(status);
    if (same != nullptr && stamp == same_stamp && !same->racy_ && same->format_ == format) {
      return same;
    }
    const bool racy = stamp.is_racy_now();
    if (static_cast<std::uint64_t>(status.st_size) > kPackedRefsBytesMax) {
      return io::fail(io::Errc::limit, "packed-refs");
    }
    std::string bytes;
    bytes.resize(static_cast<std::size_t>(status.st_size));
    std::size_t got = 0;
    while (got < bytes.size()) {
      const ssize_t n = ::read(fd, bytes.data() + got, bytes.size() - got);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return io::fail_errno("read packed-refs");
      if (n == 0) break;
      got += static_cast<std::size_t>(n);
    }
    bytes.resize(got);
    std::shared_ptr<PackedRefs> refs(new PackedRefs(std::move(bytes), format));
    refs->racy_ = racy;
    const auto indexed = refs->index(line);
    if (!indexed) return std::unexpected(indexed.error());
    return refs;
  };
  auto refs = read_all();
  ::close(fd);
  return refs;
}

}  // namespace weir::git

#include "git/loose_bundle.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <string_view>

#include "git/name_search.h"

namespace weir::git {
namespace {

constexpr std::string_view kMagic = "WEIRLSE1";
constexpr std::size_t kHeaderBytes = 16;
constexpr std::size_t kNameBytes = 32;
constexpr std::size_t kRowBytes = kNameBytes + 16;
// "<type> <size>\0" of an object's stream; git reads no longer one.
constexpr std::size_t kObjectHeaderBytesMax = 32;

template <typename Number>
void put(std::string& out, Number number) {
  for (std::size_t i = 0; i < sizeof number; ++i) {
    out += static_cast<char>(number >> (8 * i) & 0xff);
  }
}
template <typename Number>
Number load(const std::uint8_t* bytes) {
  Number number = 0;
  for (std::size_t i = 0; i < sizeof number; ++i) number |= Number{bytes[i]} << (8 * i);
  return number;
}

struct ObjectHeader {
  LooseBundle::Head head;
  std::size_t bytes = 0;
};

std::optional<ObjectHeader> parse_header(std::string_view text) {
  ObjectHeader header;
  const std::size_t space = text.find(' ');
  const std::size_t end = text.find('\0');
  if (space == text.npos || end == text.npos || end < space) return std::nullopt;
  const std::string_view type = text.substr(0, space);
  const std::string_view size = text.substr(space + 1, end - space - 1);
  constexpr std::array kTypes = {ObjectType::commit, ObjectType::tree, ObjectType::blob,
                                 ObjectType::tag};
  const auto* const found = std::ranges::find(kTypes, type, type_name);
  if (found == kTypes.end() || size.empty() || (size.size() > 1 && size[0] == '0')) {
    return std::nullopt;
  }
  header.head.type = *found;
  const auto [rest, error] =
      std::from_chars(size.data(), size.data() + size.size(), header.head.size);
  if (error != std::errc() || rest != size.data() + size.size()) return std::nullopt;
  header.bytes = end + 1;
  return header;
}

io::Result<ObjectHeader> read_header(std::span<const std::uint8_t> stream, Inflater& inflater) {
  std::array<std::uint8_t, kObjectHeaderBytesMax> head;
  const io::Result<std::size_t> bytes = inflater.inflate_head(stream, head);
  if (!bytes) return std::unexpected(bytes.error());
  const std::optional<ObjectHeader> header =
      parse_header({reinterpret_cast<const char*>(head.data()), *bytes});
  if (!header || header->head.size > inflated_bytes_max(stream.size())) {
    return io::fail(io::Errc::corrupt, "header of a loose object");
  }
  return *header;
}

}  // namespace

std::string make_loose_bundle(std::span<const LooseFile> files) {
  std::uint64_t end = kHeaderBytes + files.size() * kRowBytes;
  std::string out(kMagic);
  put(out, static_cast<std::uint32_t>(files.size()));
  put(out, std::uint32_t{0});
  for (const LooseFile& file : files) {
    out.append(reinterpret_cast<const char*>(file.id.hash.data()), kNameBytes);
    put(out, end);
    put(out, std::uint64_t{file.bytes.size()});
    end += file.bytes.size();
  }
  out.reserve(end);
  for (const LooseFile& file : files) out += file.bytes;
  return out;
}

io::Result<LooseBundle> LooseBundle::open(std::span<const std::uint8_t> file, ObjectFormat format) {
  LooseBundle bundle;
  bundle.file_ = file;
  bundle.format_ = format;
  if (file.size() < kHeaderBytes || !std::ranges::equal(kMagic, file.first(kMagic.size())) ||
      load<std::uint32_t>(file.data() + 12) != 0) {
    return io::fail(io::Errc::corrupt, "bundle of loose objects");
  }
  bundle.count_ = load<std::uint32_t>(file.data() + 8);
  if (bundle.count_ > kLooseObjectsMax) return io::fail(io::Errc::limit, "loose objects");
  const std::size_t streams = kHeaderBytes + bundle.count_ * kRowBytes;
  if (file.size() < streams) return io::fail(io::Errc::corrupt, "table of loose objects");
  const std::size_t hash = hash_bytes(format);
  for (std::uint32_t position = 0; position < bundle.count_; ++position) {
    const std::uint8_t* const row = bundle.row_at(position);
    const bool rises = position == 0 || std::memcmp(row - kRowBytes, row, hash) < 0;
    const auto padding = std::span(row, kNameBytes).subspan(hash);
    const bool padded = std::ranges::all_of(padding, [](std::uint8_t byte) { return byte == 0; });
    const auto offset = load<std::uint64_t>(row + kNameBytes);
    const auto bytes = load<std::uint64_t>(row + kNameBytes + 8);
    if (!rises || !padded || offset < streams || offset > file.size() ||
        bytes > file.size() - offset) {
      return io::fail(io::Errc::corrupt, "table of loose objects");
    }
  }
  return bundle;
}

const std::uint8_t* LooseBundle::row_at(std::uint32_t position) const {
  return file_.data() + kHeaderBytes + position * kRowBytes;
}

std::span<const std::uint8_t> LooseBundle::stream_at(std::uint32_t position) const {
  const std::uint8_t* const row = row_at(position);
  return file_.subspan(load<std::uint64_t>(row + kNameBytes),
                       load<std::uint64_t>(row + kNameBytes + 8));
}

ObjectId LooseBundle::id_at(std::uint32_t position) const {
  return ObjectId::from_bytes(row_at(position), format_);
}

std::optional<std::uint32_t> LooseBundle::find(const ObjectId& id) const {
  if (id.bytes != hash_bytes(format_)) return std::nullopt;
  return find_name(id, 0, count_, [this](std::uint32_t position) { return row_at(position); });
}

io::Result<LooseBundle::Head> LooseBundle::head_at(std::uint32_t position,
                                                   Inflater& inflater) const {
  const io::Result<ObjectHeader> header = read_header(stream_at(position), inflater);
  if (!header) return std::unexpected(header.error());
  return header->head;
}

io::Result<LooseBundle::Head> LooseBundle::read(std::uint32_t position, Inflater& inflater,
                                                std::uint64_t size_max,
                                                std::string& content) const {
  const std::span<const std::uint8_t> stream = stream_at(position);
  const io::Result<ObjectHeader> header = read_header(stream, inflater);
  if (!header) return std::unexpected(header.error());
  if (header->head.size > size_max) return io::fail(io::Errc::limit, "size of a loose object");
  content.resize(header->bytes + header->head.size);
  const io::Result<std::size_t> taken =
      inflater.inflate(stream, {reinterpret_cast<std::uint8_t*>(content.data()), content.size()});
  if (!taken) return std::unexpected(taken.error());
  if (*taken != stream.size()) return io::fail(io::Errc::corrupt, "bytes behind a loose object");
  content.erase(0, header->bytes);
  return header->head;
}

}  // namespace weir::git

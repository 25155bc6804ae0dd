#include "git/object_codec.h"

#include <libdeflate.h>
#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "io/check.h"

namespace weir::git {
namespace {

constexpr std::size_t kDeltaBytesMin = 4;  // git applies none that is shorter
constexpr std::uint32_t kCopyBytesOfZero = 0x10000;

uInt clamp(std::size_t bytes) {
  return static_cast<uInt>(std::min<std::size_t>(bytes, std::numeric_limits<uInt>::max()));
}

// Seven bits a byte, the lowest first; takes them from `bytes`.
std::optional<std::uint64_t> take_size(std::span<const std::uint8_t>& bytes) {
  std::uint64_t size = 0;
  for (unsigned shift = 0; !bytes.empty() && shift < 64; shift += 7) {
    const std::uint64_t bits = bytes[0] & 0x7f;
    const bool last = (bytes[0] & 0x80) == 0;
    bytes = bytes.subspan(1);
    if (bits << shift >> shift != bits) return std::nullopt;
    size |= bits << shift;
    if (last) return size;
  }
  return std::nullopt;
}

// The bytes of a number of which `present` says which are not zero, the lowest first.
bool take_sparse(std::span<const std::uint8_t>& bytes, unsigned present, std::uint32_t& number) {
  number = 0;
  for (unsigned shift = 0; present != 0; present >>= 1, shift += 8) {
    if ((present & 1) == 0) continue;
    if (bytes.empty()) return false;
    number |= std::uint32_t{bytes[0]} << shift;
    bytes = bytes.subspan(1);
  }
  return true;
}

}  // namespace

// Each of the two is made when it is first needed. Making them can only fail for want of memory,
// which ends the process like any other allocation.
struct Inflater::Impl {
  libdeflate_decompressor* whole = nullptr;
  z_stream stream{};
  bool has_stream = false;

  ~Impl() {
    libdeflate_free_decompressor(whole);
    if (has_stream) inflateEnd(&stream);
  }
};

Inflater::Inflater() : impl_(std::make_unique<Impl>()) {}
Inflater::~Inflater() = default;

io::Result<std::size_t> Inflater::inflate(std::span<const std::uint8_t> in,
                                          std::span<std::uint8_t> out) {
  if (impl_->whole == nullptr) {
    impl_->whole = libdeflate_alloc_decompressor();
    WEIR_CHECK(impl_->whole != nullptr);
  }
  std::size_t taken = 0;
  const libdeflate_result result = libdeflate_zlib_decompress_ex(
      impl_->whole, in.data(), in.size(), out.data(), out.size(), &taken, nullptr);
  if (result != LIBDEFLATE_SUCCESS) return io::fail(io::Errc::corrupt, "inflate an object");
  return taken;
}

io::Result<std::size_t> Inflater::inflate_head(std::span<const std::uint8_t> in,
                                               std::span<std::uint8_t> out) {
  z_stream& stream = impl_->stream;
  if (impl_->has_stream) {
    inflateReset(&stream);
  } else {
    WEIR_CHECK(inflateInit(&stream) == Z_OK);
    impl_->has_stream = true;
  }
  stream.next_in = const_cast<Bytef*>(in.data());  // zlib does not write to it
  stream.avail_in = clamp(in.size());
  stream.next_out = out.data();
  stream.avail_out = clamp(out.size());
  const int status = ::inflate(&stream, Z_SYNC_FLUSH);
  if (status != Z_STREAM_END && (status != Z_OK || stream.avail_out != 0)) {
    return io::fail(io::Errc::corrupt, "inflate the head of an object");
  }
  return clamp(out.size()) - stream.avail_out;
}

struct Deflater::Impl {
  libdeflate_compressor* compressor = nullptr;
  ~Impl() { libdeflate_free_compressor(compressor); }
};

Deflater::Deflater(int level) : impl_(std::make_unique<Impl>()) {
  impl_->compressor = libdeflate_alloc_compressor(level);
  WEIR_CHECK(impl_->compressor != nullptr);
}
Deflater::~Deflater() = default;

void Deflater::deflate(std::span<const std::uint8_t> in, std::string& out) {
  const std::size_t before = out.size();
  const std::size_t room = libdeflate_zlib_compress_bound(impl_->compressor, in.size());
  out.resize(before + room);
  const std::size_t made =
      libdeflate_zlib_compress(impl_->compressor, in.data(), in.size(), out.data() + before, room);
  WEIR_CHECK(made != 0);
  out.resize(before + made);
}

std::optional<DeltaSizes> delta_sizes(std::span<const std::uint8_t> delta) {
  std::span<const std::uint8_t> rest = delta;
  const std::optional<std::uint64_t> base = take_size(rest);
  if (!base) return std::nullopt;
  const std::optional<std::uint64_t> result = take_size(rest);
  if (!result) return std::nullopt;
  return DeltaSizes{*base, *result, delta.size() - rest.size()};
}

bool apply_delta(std::span<const std::uint8_t> base, std::span<const std::uint8_t> delta,
                 std::span<std::uint8_t> out) {
  const std::optional<DeltaSizes> sizes = delta_sizes(delta);
  if (!sizes || delta.size() < kDeltaBytesMin) return false;
  if (sizes->base != base.size() || sizes->result != out.size()) return false;
  std::span<const std::uint8_t> rest = delta.subspan(sizes->head_bytes);
  while (!rest.empty()) {
    const unsigned command = rest[0];
    rest = rest.subspan(1);
    std::span<const std::uint8_t> source = rest;
    std::uint32_t offset = 0;
    std::uint32_t bytes = command;
    if ((command & 0x80) != 0) {
      if (!take_sparse(rest, command & 0x0f, offset)) return false;
      if (!take_sparse(rest, command >> 4 & 0x07, bytes)) return false;
      if (bytes == 0) bytes = kCopyBytesOfZero;
      source = base;
    } else if (command == 0) {
      return false;  // reserved
    }
    if (offset > source.size() || bytes > source.size() - offset) return false;
    if (bytes > out.size()) return false;
    std::memcpy(out.data(), source.data() + offset, bytes);
    out = out.subspan(bytes);
    if ((command & 0x80) == 0) rest = rest.subspan(bytes);
  }
  return out.empty();
}

}  // namespace weir::git

#include "git/recipe_answer.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "git/pkt_line.h"
#include "io/digest.h"
#include "io/fd_ops.h"
#include "io/task_scope.h"

namespace weir::git {
namespace {

constexpr std::size_t kHeaderBytes = 12;
constexpr std::size_t kBandHeaderBytes = 5;  // packet length and band
constexpr std::size_t kBatchBytes = kRecipeAnswerBytesMax / 2;
// Larger extents are read where they leave; smaller ones that lie near each other by one read of
// the range that covers them. A gap of so many bytes costs less than a read of its own.
constexpr std::uint64_t kOwnReadBytes = 32 * 1024;
constexpr std::uint64_t kGapBytesMax = 16 * 1024;
// What a batch has beyond its packets: there a covering range has room.
constexpr std::size_t kWindowBytesMin = 64 * 1024;

// How the pack is cut into packets, and how many of them are a batch: together about 192 KiB, lean
// ones 64 KiB.
struct Framing {
  std::size_t header_bytes = 0;
  std::size_t payload_bytes = 0;
  std::size_t packets = 0;
};

constexpr Framing framing_of(SidebandKind sideband, bool lean) {
  switch (sideband) {
    case SidebandKind::large:
      return {kBandHeaderBytes, kSidebandPayloadBytesMax, lean ? 1U : 3U};
    case SidebandKind::small:
      return {kBandHeaderBytes, kSmallSidebandPayloadBytesMax, lean ? 65U : 196U};
    case SidebandKind::none:
      break;
  }
  return {0, (lean ? kLeanRecipeAnswerBytesMax : kBatchBytes) - kWindowBytesMin, 1};
}

std::string progress_packet(const std::string& text) {
  std::string packet;
  append_sideband(packet, Band::progress, text);
  return packet;
}

// The words of git's pack-objects, which tools read.
std::string opening_text(const RecipeCounts& counts) {
  return progress_packet("Enumerating objects: " + std::to_string(counts.objects) + ", done.\n");
}
std::string closing_text(const RecipeCounts& counts) {
  return progress_packet("Total " + std::to_string(counts.objects) + " (delta " +
                         std::to_string(counts.deltas) + "), reused " +
                         std::to_string(counts.reused) + " (delta " +
                         std::to_string(std::min(counts.deltas, counts.reused)) +
                         "), pack-reused " + std::to_string(counts.pack_reused()) + "\n");
}

std::array<std::uint8_t, kHeaderBytes> pack_header(std::uint32_t objects) {
  return {'P',
          'A',
          'C',
          'K',
          0,
          0,
          0,
          2,
          static_cast<std::uint8_t>(objects >> 24),
          static_cast<std::uint8_t>(objects >> 16),
          static_cast<std::uint8_t>(objects >> 8),
          static_cast<std::uint8_t>(objects)};
}

class RecipeReader {
 public:
  RecipeReader(io::ByteSink& answer, const Recipe& recipe, std::function<int(std::size_t)> fd_of,
               SidebandKind sideband, bool progress, io::ByteBudget* memory, io::StopToken stop)
      : answer_(answer),
        recipe_(recipe),
        fd_of_(std::move(fd_of)),
        sideband_(sideband),
        progress_(progress && sideband != SidebandKind::none),
        stop_(stop),
        cursor_(recipe),
        header_(pack_header(recipe.counts().objects)),
        literal_(header_) {
    take_memory(memory);
    if (recipe.trailer()) {
      trailer_ = *recipe.trailer();
    } else if (const PackTrailer* const believed = recipe.hashed_trailer().believed()) {
      trailer_ = *believed;
    } else {
      digest_.emplace(recipe.format() == ObjectFormat::sha1 ? io::StreamedDigest::Kind::sha1
                                                            : io::StreamedDigest::Kind::sha256);
    }
  }
  io::Task<io::Result<void>> send();

 private:
  void take_memory(io::ByteBudget* memory);
  void begin_batch(std::unique_ptr<std::uint8_t[]>& buffer);
  io::Task<io::Result<void>> fill();
  io::Task<void> write(std::span<const std::uint8_t> bytes, io::Result<void>& result);

  // Makes the next piece the present one. False: the trailer was the last.
  bool advance();
  bool ended() const { return trailer_begun_ && literal_.empty(); }
  io::Task<io::Result<void>> take_extent();
  io::Task<io::Result<void>> read_whole(std::span<std::uint8_t> into, std::uint64_t offset);
  // Where a range ends that begins with the present extent and covers those near behind it;
  // 0: there is none near.
  std::uint64_t near_extents_end() const;

  // Payload that the batch still takes.
  std::size_t room() const {
    return (framing_.packets - packets_) * framing_.payload_bytes - payload_;
  }
  // Of the packet that is open, or of a new one.
  std::span<std::uint8_t> packet_room();
  void took(std::size_t bytes);
  void put(const std::uint8_t* bytes, std::size_t count);
  void end_packet();
  void hash_payload();

  io::ByteSink& answer_;
  const Recipe& recipe_;
  const std::function<int(std::size_t)> fd_of_;
  const SidebandKind sideband_;
  const bool progress_;
  const io::StopToken stop_;

  // What comes next: bytes in memory, or what is left of an extent.
  Recipe::Cursor cursor_;
  const std::array<std::uint8_t, kHeaderBytes> header_;
  std::span<const std::uint8_t> literal_;
  RecipePiece extent_;
  PackTrailer trailer_{};
  bool trailer_begun_ = false;
  std::optional<io::StreamedDigest> digest_;

  std::optional<io::ByteBudget::Share> held_;
  bool lean_ = false;
  Framing framing_;

  // The batch that fills.
  std::uint8_t* batch_ = nullptr;
  std::size_t batch_bytes_ = 0;  // of each buffer
  std::size_t used_ = 0;
  std::size_t packets_ = 0;  // whole ones of the pack
  std::size_t payload_ = 0;  // in the open packet, behind its header
  std::size_t hashed_ = 0;   // of them
  // The range of the present extent's file that stands at the end of the batch. What is copied out
  // of it never overtakes it: see near_extents_end().
  std::uint64_t window_begin_ = 0, window_end_ = 0;
};

io::Task<io::Result<void>> RecipeReader::send() {
  std::array<std::unique_ptr<std::uint8_t[]>, 2> buffers;
  io::TaskScope writing;
  io::Result<void> written;
  io::Result<void> filled;
  for (std::size_t batch = 0; filled && !ended(); ++batch) {
    if (lean_) co_await writing.join();
    begin_batch(buffers[lean_ ? 0 : batch % 2]);
    if (batch == 0 && progress_) {
      const std::string text = opening_text(recipe_.counts());
      std::memcpy(batch_, text.data(), text.size());
      used_ = text.size();
    }
    filled = co_await fill();
    if (filled && ended() && sideband_ != SidebandKind::none) {
      std::string text = progress_ ? closing_text(recipe_.counts()) : "";
      append_flush(text);
      std::memcpy(batch_ + used_, text.data(), text.size());
      used_ += text.size();
    }
    co_await writing.join();
    if (!written) co_return written;
    if (filled) writing.spawn(write({batch_, used_}, written));
  }
  co_await writing.join();
  co_return filled ? written : filled;
}

void RecipeReader::take_memory(io::ByteBudget* memory) {
  const std::uint64_t bytes = framed_bytes(recipe_, sideband_, progress_) + kWindowBytesMin;
  batch_bytes_ = std::min<std::uint64_t>(bytes, kBatchBytes);
  const std::uint64_t held = bytes > kBatchBytes ? kRecipeAnswerBytesMax : batch_bytes_;
  if (memory != nullptr && held > kLeanRecipeAnswerBytesMax) {
    held_.emplace(*memory);
    lean_ = !held_->grow(held);
  }
  if (lean_) batch_bytes_ = kLeanRecipeAnswerBytesMax;
  framing_ = framing_of(sideband_, lean_);
}

io::Task<void> RecipeReader::write(std::span<const std::uint8_t> bytes, io::Result<void>& result) {
  result = co_await answer_.write(bytes);
}

void RecipeReader::begin_batch(std::unique_ptr<std::uint8_t[]>& buffer) {
  if (!buffer) buffer = std::make_unique_for_overwrite<std::uint8_t[]>(batch_bytes_);
  batch_ = buffer.get();
  used_ = packets_ = 0;
  window_begin_ = window_end_ = 0;
}

// Until the batch is full or the pack has ended.
io::Task<io::Result<void>> RecipeReader::fill() {
  while (room() > 0) {
    if (!literal_.empty()) {
      const std::size_t bytes = std::min(room(), literal_.size());
      put(literal_.data(), bytes);
      literal_ = literal_.subspan(bytes);
    } else if (extent_.bytes > 0) {
      const io::Result<void> taken = co_await take_extent();
      if (!taken) co_return taken;
    } else if (!advance()) {
      break;
    }
  }
  end_packet();
  co_return io::Result<void>{};
}

bool RecipeReader::advance() {
  RecipePiece piece;
  if (cursor_.next(piece)) {
    if (piece.file == RecipePiece::kLiteral) {
      literal_ = recipe_.literal(piece);
    } else {
      if (piece.file != extent_.file) window_end_ = window_begin_;
      extent_ = piece;
    }
    return true;
  }
  if (trailer_begun_) return false;
  trailer_begun_ = true;
  if (digest_) {
    hash_payload();
    trailer_ = digest_->finish();
    digest_.reset();
    recipe_.hashed_trailer().hashed(trailer_);
  }
  literal_ = std::span(trailer_).first(hash_bytes(recipe_.format()));
  return true;
}

io::Task<io::Result<void>> RecipeReader::take_extent() {
  const auto in_window = [this] {
    return extent_.offset >= window_begin_ && extent_.offset < window_end_;
  };
  if (!in_window() && extent_.bytes < kOwnReadBytes) {
    if (const std::uint64_t end = near_extents_end(); end > 0) {
      const std::size_t bytes = end - extent_.offset;
      window_begin_ = window_end_ = extent_.offset;
      const io::Result<void> read =
          co_await read_whole({batch_ + batch_bytes_ - bytes, bytes}, extent_.offset);
      if (!read) co_return read;
      window_end_ = end;
    }
  }
  std::size_t bytes = 0;
  if (in_window()) {
    bytes = std::min<std::uint64_t>({room(), extent_.bytes, window_end_ - extent_.offset});
    put(batch_ + batch_bytes_ - (window_end_ - extent_.offset), bytes);
    window_begin_ = extent_.offset + bytes;  // what lies before may be overwritten
  } else {
    window_begin_ = window_end_ = 0;  // what is read now may overwrite it
    std::span<std::uint8_t> into = packet_room();
    bytes = std::min<std::uint64_t>(into.size(), extent_.bytes);
    const io::Result<void> read = co_await read_whole(into.first(bytes), extent_.offset);
    if (!read) co_return read;
    took(bytes);
  }
  extent_.offset += bytes;
  extent_.bytes -= bytes;
  co_return io::Result<void>{};
}

std::uint64_t RecipeReader::near_extents_end() const {
  // The range lies at the end of the batch, what has been filled at its begin. Copying adds to the
  // latter at most the extents passed in the range, the literals between them and headers: while
  // all of these fit beside the range, what is copied lands before what is still to be copied.
  const std::uint64_t free =
      batch_bytes_ - used_ - (framing_.packets - packets_) * framing_.header_bytes;
  std::uint64_t end = extent_.offset + extent_.bytes;
  std::uint64_t payload = extent_.bytes;
  std::uint64_t literals = 0;
  Recipe::Cursor ahead = cursor_;
  bool several = false;
  for (RecipePiece piece; payload < room() && ahead.next(piece); payload += piece.bytes) {
    if (piece.file == RecipePiece::kLiteral) {
      literals += piece.bytes;
      continue;
    }
    if (piece.file != extent_.file || piece.bytes >= kOwnReadBytes || piece.offset < end ||
        piece.offset - end > kGapBytesMax ||
        piece.offset + piece.bytes - extent_.offset + literals > free) {
      break;
    }
    end = piece.offset + piece.bytes;
    several = true;
  }
  return several ? end : 0;
}

io::Task<io::Result<void>> RecipeReader::read_whole(std::span<std::uint8_t> into,
                                                    std::uint64_t offset) {
  while (!into.empty()) {
    const int fd = fd_of_(extent_.file);
    const io::Result<std::size_t> got = co_await io::read_at(fd, into, offset, stop_);
    if (!got) co_return std::unexpected(got.error());
    if (*got == 0) co_return io::fail(io::Errc::corrupt, "a file ends before its extent");
    into = into.subspan(*got);
    offset += *got;
  }
  co_return io::Result<void>{};
}

std::span<std::uint8_t> RecipeReader::packet_room() {
  if (payload_ == 0) used_ += framing_.header_bytes;
  return {batch_ + used_, framing_.payload_bytes - payload_};
}

void RecipeReader::took(std::size_t bytes) {
  used_ += bytes;
  payload_ += bytes;
  if (payload_ == framing_.payload_bytes) end_packet();
}

void RecipeReader::put(const std::uint8_t* bytes, std::size_t count) {
  while (count > 0) {
    const std::span<std::uint8_t> into = packet_room();
    const std::size_t part = std::min(into.size(), count);
    std::memmove(into.data(), bytes, part);
    took(part);
    bytes += part;
    count -= part;
  }
}

void RecipeReader::end_packet() {
  if (payload_ == 0) return;
  if (framing_.header_bytes > 0) {
    std::uint8_t* const header = batch_ + used_ - payload_ - framing_.header_bytes;
    write_pkt_length(reinterpret_cast<char*>(header), framing_.header_bytes + payload_);
    header[4] = static_cast<std::uint8_t>(Band::data);
  }
  hash_payload();
  ++packets_;
  payload_ = hashed_ = 0;
}

void RecipeReader::hash_payload() {
  if (digest_) digest_->update({batch_ + used_ - payload_ + hashed_, payload_ - hashed_});
  hashed_ = payload_;
}

}  // namespace

std::uint64_t framed_bytes(const Recipe& recipe, SidebandKind sideband, bool progress) {
  const Framing framing = framing_of(sideband, false);
  std::uint64_t bytes = recipe.pack_bytes();
  if (sideband == SidebandKind::none) return bytes;
  bytes += (bytes + framing.payload_bytes - 1) / framing.payload_bytes * framing.header_bytes;
  if (progress)
    bytes += opening_text(recipe.counts()).size() + closing_text(recipe.counts()).size();
  return bytes + 4;
}

io::Task<io::Result<void>> send_recipe(io::ByteSink& answer, const Recipe& recipe,
                                       std::function<int(std::size_t)> fd_of, SidebandKind sideband,
                                       bool progress, io::ByteBudget* memory, io::StopToken stop) {
  RecipeReader reader(answer, recipe, std::move(fd_of), sideband, progress, memory, stop);
  auto sending = reader.send();
  co_return co_await std::move(sending);
}

}  // namespace weir::git

#include "io/stream_output.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "io/check.h"

namespace weir::io {
namespace {

// Bulk is not cut to a record shorter than this at the end of a buffer: it would be mostly
// overhead.
constexpr std::size_t kRecordCutMin = 2048;

}  // namespace

// Plaintext that fits behind what is there, when it is packed into full records.
std::size_t StreamOutput::packed_room() const {
  const TlsOutput empty{nullptr, kOutputBufferBytes, 0};
  const TlsOutput& output = filling_buffer_ ? filling_ : empty;
  if (engine_ == nullptr) return output.capacity - output.used;
  if (engine_->output_waiting()) return 0;
  const std::size_t fits = TlsEngine::plaintext_room(output);
  return fits - std::min(fits, staged_bytes_);
}

std::size_t StreamOutput::room() const {
  const std::size_t fits = packed_room();
  if (engine_ == nullptr) return fits;
  const std::size_t last_record = (fits + staged_bytes_) % kRecordPlaintextBytesMax;
  return last_record >= kRecordCutMin ? fits : fits - std::min(fits, last_record);
}

std::size_t StreamOutput::write(std::span<const std::uint8_t> bytes) {
  if (bytes.size() > packed_room()) bytes = bytes.first(room());
  std::size_t taken = 0;
  while (taken < bytes.size()) {
    const std::span<const std::uint8_t> rest = bytes.subspan(taken);
    TlsOutput& output = filling_buffer_ ? filling_ : records();
    if (engine_ == nullptr) {
      std::memcpy(output.data + output.used, rest.data(), rest.size());
      output.used += rest.size();
      return bytes.size();
    }
    if (staged_bytes_ == 0 && rest.size() >= kRecordPlaintextBytesMax) {
      const std::size_t whole = rest.size() - rest.size() % kRecordPlaintextBytesMax;
      const std::size_t written = engine_->write(rest.first(whole), output);
      taken += written;
      if (written < whole) break;  // a dead session
      continue;
    }
    const std::size_t part = std::min(rest.size(), kRecordPlaintextBytesMax - staged_bytes_);
    std::memcpy(output.data + output.used + staged_bytes_, rest.data(), part);
    staged_bytes_ += part;
    taken += part;
    if (staged_bytes_ == kRecordPlaintextBytesMax) seal();
  }
  return taken;
}

// The record is encrypted into the engine's memory before it is copied over its own plaintext.
void StreamOutput::seal() {
  const std::size_t bytes = std::exchange(staged_bytes_, 0);
  if (bytes == 0) return;
  WEIR_CHECK(!engine_->output_waiting());  // it would be moved over our plaintext
  engine_->write({filling_.data + filling_.used, bytes}, filling_);
}

TlsOutput& StreamOutput::records() {
  if (!filling_buffer_) {
    filling_buffer_ = take_output_buffer();
    filling_ = {filling_buffer_.get(), kOutputBufferBytes, 0};
  }
  seal();
  return filling_;
}

bool StreamOutput::unsent() const {
  return filling_.used + staged_bytes_ > 0 || (engine_ != nullptr && engine_->output_waiting());
}

std::span<const std::uint8_t> StreamOutput::begin_send() {
  WEIR_CHECK(sending_buffer_ == nullptr);
  if (!unsent()) return {};
  records();
  if (engine_ != nullptr && engine_->output_waiting()) engine_->write({}, filling_);
  sending_bytes_ = filling_.used;
  sending_buffer_ = std::move(filling_buffer_);
  filling_ = {nullptr, 0, 0};
  if (sending_bytes_ == 0) sending_buffer_.reset();  // a dead session's last bytes
  return {sending_buffer_.get(), sending_bytes_};
}

void StreamOutput::end_send() {
  sending_buffer_.reset();
  sending_bytes_ = 0;
}

void StreamOutput::drop_unsent() {
  filling_buffer_.reset();
  filling_ = {nullptr, 0, 0};
  staged_bytes_ = 0;
}

std::size_t StreamOutput::pending_bytes() const {
  return filling_.used + staged_bytes_ + sending_bytes_;
}

}  // namespace weir::io

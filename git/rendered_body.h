#pragma once
// RenderedBody: an answer that is ready in memory, as spans into shared immutable chunks. Sending
// it copies nothing; the owners keep the chunks alive. A value.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace weir::git {

class RenderedBody {
 public:
  void append(std::shared_ptr<const std::string> chunk) {
    if (chunk->empty()) return;
    append_view(*chunk, chunk);
  }
  void append(std::string chunk) { append(std::make_shared<const std::string>(std::move(chunk))); }
  // A part of something that `owner` keeps alive.
  void append_view(std::string_view view, std::shared_ptr<const void> owner) {
    if (view.empty()) return;
    bytes_ += view.size();
    parts_.push_back(
        {{reinterpret_cast<const std::uint8_t*>(view.data()), view.size()}, std::move(owner)});
  }

  struct Part {
    std::span<const std::uint8_t> bytes;
    std::shared_ptr<const void> owner;
  };
  const std::vector<Part>& parts() const { return parts_; }
  std::uint64_t bytes() const { return bytes_; }

 private:
  std::vector<Part> parts_;
  std::uint64_t bytes_ = 0;
};

}  // namespace weir::git

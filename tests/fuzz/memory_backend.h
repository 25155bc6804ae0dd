#pragma once
// MemoryBackend: a Backend without a kernel, for fuzzing what stands on a Stream: recv yields the
// given bytes piece by piece, then the end; send takes everything; nothing ever waits.

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <span>
#include <vector>

#include "io/backend.h"

namespace weir::io {

class MemoryBackend final : public Backend {
 public:
  MemoryBackend(std::span<const std::uint8_t> input, std::size_t piece_bytes)
      : input_(input), piece_bytes_(std::max<std::size_t>(piece_bytes, 1)) {}
  ~MemoryBackend() override { WEIR_CHECK(ops_.empty()); }

  bool input_used_up() const { return input_.empty(); }
  void end_input() { ended_ = true; }

  void cancel(Op& op) override { cancelled_.push_back(&op); }
  void cancel_fd(int) override {
    for (Op* op = ops_.first(); op != nullptr; op = ops_.next(*op)) cancelled_.push_back(op);
  }
  Result<void> start() override { return {}; }
  void wait(std::optional<Instant>, std::vector<CompletedOp>& out) override {
    for (Op* op = ops_.first(); op != nullptr;) {
      Op& current = *op;
      op = ops_.next(current);
      Completion completion;
      if (!complete(current, completion)) continue;
      current.unlink();
      out.push_back({&current, completion});
    }
    cancelled_.clear();
  }
  void wake() override {}
  void give_back(std::uint16_t) override {}
  const char* name() const override { return "memory"; }
  std::string describe() const override { return "memory"; }

 protected:
  void do_submit(Op& op) override { ops_.push_back(op); }

 private:
  bool complete(Op& op, Completion& completion) {
    const bool cancelled = std::ranges::find(cancelled_, &op) != cancelled_.end();
    if (op.kind == OpKind::recv && !cancelled) {
      if (input_.empty()) return ended_;
      const std::size_t bytes = std::min({piece_bytes_, input_.size(), sizeof buffer_});
      std::copy_n(input_.data(), bytes, buffer_);
      input_ = input_.subspan(bytes);
      completion = {static_cast<std::int32_t>(bytes), false, {buffer_, bytes}, 0};
      return true;
    }
    completion.result = cancelled                 ? -ECANCELED
                        : op.kind == OpKind::send ? static_cast<std::int32_t>(op.buffer.size())
                                                  : 0;
    return true;
  }

  std::span<const std::uint8_t> input_;
  const std::size_t piece_bytes_;
  bool ended_ = false;
  IntrusiveList<Op> ops_;
  std::vector<Op*> cancelled_;
  std::uint8_t buffer_[16384];
};

}  // namespace weir::io

#pragma once
// ByteBudget: bytes that many holders may have among them, so that what each may hold times how
// many there are is not what memory must hold. A Share grows as its holder buffers more and gives
// everything back when it is destroyed. Nobody waits: a Share that may not grow says so, and its
// holder refuses. The last part of the budget is kept for small Shares, so that a few large ones do
// not shut out everybody. Thread-safe; outlives its Shares. Metrics: weir_held_bytes{what},
// weir_held_refused_total{what}.

#include <atomic>
#include <cstdint>
#include <string>

#include "io/metrics.h"

namespace weir::io {

inline constexpr std::uint64_t kSmallShareBytes = 64 * 1024;
inline constexpr std::uint64_t kBudgetPartForSmall = 8;  // an eighth

class ByteBudget {
 public:
  // `what` names the metrics' label.
  ByteBudget(const std::string& what, std::uint64_t bytes_max)
      : bytes_max_(bytes_max),
        held_gauge_(Metrics::instance().gauge("weir_held_bytes", "what=\"" + what + "\"",
                                              "Bytes held of a budget that many share.")),
        refused_(Metrics::instance().counter("weir_held_refused_total", "what=\"" + what + "\"",
                                             "Times a budget had nothing left.")) {}

  class Share {
   public:
    explicit Share(ByteBudget& budget) : budget_(budget) {}
    ~Share() { budget_.give_back(bytes_); }
    Share(const Share&) = delete;
    Share& operator=(const Share&) = delete;

    // False: the budget is spent; the Share keeps what it has.
    bool grow(std::uint64_t bytes) {
      if (!budget_.take(bytes, bytes_ + bytes <= kSmallShareBytes)) return false;
      bytes_ += bytes;
      return true;
    }

   private:
    ByteBudget& budget_;
    std::uint64_t bytes_ = 0;
  };

  std::uint64_t held() const { return held_.load(std::memory_order_relaxed); }

 private:
  bool take(std::uint64_t bytes, bool small) {
    const std::uint64_t most = small ? bytes_max_ : bytes_max_ - bytes_max_ / kBudgetPartForSmall;
    if (held_.fetch_add(bytes, std::memory_order_relaxed) + bytes > most) {
      held_.fetch_sub(bytes, std::memory_order_relaxed);
      refused_.add();
      return false;
    }
    held_gauge_.add(static_cast<std::int64_t>(bytes));
    return true;
  }
  void give_back(std::uint64_t bytes) {
    held_.fetch_sub(bytes, std::memory_order_relaxed);
    held_gauge_.add(-static_cast<std::int64_t>(bytes));
  }

  const std::uint64_t bytes_max_;
  std::atomic<std::uint64_t> held_{0};
  Gauge held_gauge_;
  Counter refused_;
};

}  // namespace weir::io

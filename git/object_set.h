#pragma once
// ObjectSet: a set of object numbers (git/object_store.h) as a bitmap. A value; one thread.

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

namespace weir::git {

class ObjectSet {
 public:
  ObjectSet() = default;
  explicit ObjectSet(std::uint32_t numbers) : words_((std::size_t{numbers} + 63) / 64) {}

  void add(std::uint32_t number) { words_[number / 64] |= std::uint64_t{1} << (number % 64); }
  void remove(std::uint32_t number) { words_[number / 64] &= ~(std::uint64_t{1} << (number % 64)); }
  bool contains(std::uint32_t number) const {
    const std::size_t word = number / 64;
    return word < words_.size() && (words_[word] >> (number % 64) & 1) != 0;
  }
  // True if it was not in yet.
  bool insert(std::uint32_t number) {
    std::uint64_t& word = words_[number / 64];
    const std::uint64_t bit = std::uint64_t{1} << (number % 64);
    const bool fresh = (word & bit) == 0;
    word |= bit;
    return fresh;
  }
  // All sets of one store have the same size.
  ObjectSet& operator|=(const ObjectSet& other) {
    for (std::size_t i = 0; i < words_.size(); ++i) words_[i] |= other.words_[i];
    return *this;
  }
  ObjectSet& operator&=(const ObjectSet& other) {
    for (std::size_t i = 0; i < words_.size(); ++i) words_[i] &= other.words_[i];
    return *this;
  }
  ObjectSet& subtract(const ObjectSet& other) {
    for (std::size_t i = 0; i < words_.size(); ++i) words_[i] &= ~other.words_[i];
    return *this;
  }
  // Of the numbers from `first` on, as many as `count`, those that are in `other`, where they begin
  // at `from`; word by word.
  void add_stretch(std::uint32_t first, const ObjectSet& other, std::uint32_t from,
                   std::uint32_t count) {
    while (count != 0) {
      const unsigned at = first % 64;
      const std::uint32_t bits = std::min<std::uint32_t>(64 - at, count);
      words_[first / 64] |= other.stretch(from, bits) << at;
      first += bits;
      from += bits;
      count -= bits;
    }
  }
  std::uint64_t count() const {
    std::uint64_t bits = 0;
    for (const std::uint64_t word : words_) bits += static_cast<unsigned>(std::popcount(word));
    return bits;
  }
  bool empty() const {
    for (const std::uint64_t word : words_) {
      if (word != 0) return false;
    }
    return true;
  }
  // In ascending order.
  template <typename Visit>
  void for_each(Visit visit) const {
    for (std::size_t i = 0; i < words_.size(); ++i) {
      for (std::uint64_t word = words_[i]; word != 0; word &= word - 1) {
        visit(static_cast<std::uint32_t>(i * 64 + static_cast<unsigned>(std::countr_zero(word))));
      }
    }
  }
  std::vector<std::uint64_t>& words() { return words_; }
  const std::vector<std::uint64_t>& words() const { return words_; }
  friend bool operator==(const ObjectSet&, const ObjectSet&) = default;

 private:
  // 1 <= bits <= 64.
  std::uint64_t stretch(std::uint32_t first, std::uint32_t bits) const {
    const unsigned at = first % 64;
    std::uint64_t found = words_[first / 64] >> at;
    if (at + bits > 64) found |= words_[first / 64 + 1] << (64 - at);
    return found & ~std::uint64_t{0} >> (64 - bits);
  }

  std::vector<std::uint64_t> words_;
};

}  // namespace weir::git

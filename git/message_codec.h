#pragma once
// MessageWriter, MessageReader: how the messages between a loop and its children are spelled. Every
// field in order, integers and enumerations little-endian, strings and lists after a u32 count.
// Sans-IO. A reader takes its bytes as hostile: after the first thing that is wrong it reads
// nothing and finished() is false; counts never reserve more than the bytes that are there.

#include <concepts>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "git/object_id.h"

namespace weir::git {

class MessageWriter {
 public:
  // `reserved`: bytes before the first field, for a header.
  explicit MessageWriter(std::size_t reserved = 0) : out_(reserved, '\0') {}
  template <std::unsigned_integral T>
  void operator()(const T& value) {
    for (std::size_t i = 0; i < sizeof(T); ++i) {
      out_.push_back(static_cast<char>(static_cast<std::uint64_t>(value) >> (8 * i)));
    }
  }
  template <typename T>
    requires std::is_enum_v<T>
  void operator()(const T& value) {
    (*this)(static_cast<std::underlying_type_t<T>>(value));
  }
  void operator()(const std::string& text) {
    (*this)(static_cast<std::uint32_t>(text.size()));
    out_ += text;
  }
  void operator()(const ObjectId& id) {
    (*this)(id.bytes);
    out_.append(reinterpret_cast<const char*>(id.hash.data()), id.bytes);
  }
  template <typename A, typename B>
  void operator()(const std::pair<A, B>& both) {
    (*this)(both.first);
    (*this)(both.second);
  }
  template <typename T>
  void operator()(const std::vector<T>& list) {
    (*this)(static_cast<std::uint32_t>(list.size()));
    for (const T& item : list) (*this)(item);
  }
  // Of types that have `codec_fields(codec, value)`, which names their fields to either codec.
  template <typename T>
    requires requires(MessageWriter& codec, const T& value) { codec_fields(codec, value); }
  void operator()(const T& value) {
    codec_fields(*this, value);
  }
  std::string& bytes() { return out_; }
  std::string take() { return std::move(out_); }

 private:
  std::string out_;
};

class MessageReader {
 public:
  // `null_ids_max`: in all lists together. They are a byte here and many in memory.
  MessageReader(std::string_view in, std::uint32_t null_ids_max)
      : in_(in), null_ids_left_(null_ids_max) {}
  template <std::unsigned_integral T>
  void operator()(T& value) {
    const std::string_view bytes = take(sizeof(T));
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      sum |= std::uint64_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
    }
    if constexpr (std::is_same_v<T, bool>) {
      if (sum > 1) ok_ = false;
      value = sum == 1;
    } else {
      value = static_cast<T>(sum);
    }
  }
  // Of types that have `codec_last(value)`, their greatest enumerator.
  template <typename T>
    requires requires(T value) { codec_last(value); }
  void operator()(T& value) {
    std::underlying_type_t<T> number = 0;
    (*this)(number);
    if (number > static_cast<std::underlying_type_t<T>>(codec_last(value))) {
      ok_ = false;
    } else {
      value = static_cast<T>(number);
    }
  }
  void operator()(std::string& text) { text = text_view(); }
  void operator()(ObjectId& id) {
    (*this)(id.bytes);
    if (id.bytes != 0 && id.bytes != 20 && id.bytes != 32) ok_ = false;
    const std::string_view bytes = take(ok_ ? id.bytes : 0);
    if (!bytes.empty()) std::memcpy(id.hash.data(), bytes.data(), bytes.size());
  }
  template <typename A, typename B>
  void operator()(std::pair<A, B>& both) {
    (*this)(both.first);
    (*this)(both.second);
  }
  template <typename T>
  void operator()(std::vector<T>& list) {
    std::uint32_t count = 0;
    (*this)(count);
    if (count > in_.size()) ok_ = false;  // an item takes a byte at least
    list.clear();
    for (std::uint32_t i = 0; ok_ && i < count; ++i) {
      (*this)(list.emplace_back());
      if constexpr (std::is_same_v<T, ObjectId>) {
        if (list.back().bytes == 0 && null_ids_left_-- == 0) ok_ = false;
      }
    }
  }
  template <typename T>
    requires requires(MessageReader& codec, T& value) { codec_fields(codec, value); }
  void operator()(T& value) {
    codec_fields(*this, value);
  }
  // A string where it stands.
  std::string_view text_view() {
    std::uint32_t bytes = 0;
    (*this)(bytes);
    return take(bytes);
  }
  // What is left, where it stands.
  std::string_view rest() { return take(ok_ ? in_.size() : 0); }
  bool finished() const { return ok_ && in_.empty(); }

 private:
  std::string_view take(std::size_t bytes) {
    if (!ok_ || bytes > in_.size()) {
      ok_ = false;
      return {};
    }
    const std::string_view taken = in_.substr(0, bytes);
    in_.remove_prefix(bytes);
    return taken;
  }
  std::string_view in_;
  std::uint32_t null_ids_left_;
  bool ok_ = true;
};

inline ObjectFormat codec_last(ObjectFormat) {
  return ObjectFormat::sha256;
}

}  // namespace weir::git

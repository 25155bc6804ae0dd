#include "http/http2_request_head.h"

#include <algorithm>
#include <charconv>

#include "http/http1_chars.h"

namespace weir::http {
namespace {

// Scratch kept between requests; a Mercurial head's megabyte is given back.
constexpr std::size_t kScratchBytesKept = 16 * 1024;

}  // namespace

void Http2RequestHeadBuilder::reset() {
  if (text_.capacity() > kScratchBytesKept) {
    text_ = {};
    fields_ = {};
  }
  text_.clear();
  fields_.clear();
  method_ = scheme_ = authority_ = path_ = {};
  has_authority_ = limits_set_ = target_too_long_ = false;
  bytes_ = count_ = 0;
  limits_ = kHeadLimitsDefault;
}

void Http2RequestHeadBuilder::set_limits(HeadLimits limits) {
  limits_ = limits;
  limits_set_ = true;
}

Http2RequestHeadBuilder::Piece Http2RequestHeadBuilder::store(std::string_view text) {
  const Piece piece{text_.size(), text.size()};
  text_.append(text);
  return piece;
}

void Http2RequestHeadBuilder::add(std::string_view name, std::string_view value) {
  bytes_ += name.size() + value.size() + kFieldOverheadBytes;
  ++count_;
  if (over_limit()) return;
  if (!name.starts_with(':')) {
    const Piece stored_name = store(name);
    fields_.push_back({stored_name, store(value)});
    return;
  }
  if (name == ":path") {
    target_too_long_ = value.size() > kRequestLineBytesMax;
    if (!target_too_long_) path_ = store(value);
  } else if (name == ":method") {
    method_ = store(value);
  } else if (name == ":scheme") {
    scheme_ = store(value);
  } else if (name == ":authority") {
    authority_ = store(value);
    has_authority_ = true;
  }
  --count_;  // pseudo fields stand for the request line
}

std::optional<HeadRefusal> Http2RequestHeadBuilder::finish(RequestHead& head, bool body_follows) {
  if (target_too_long_) return HeadRefusal{414, "request target too long"};
  if (over_limit()) return HeadRefusal{431, "request head too large"};

  head.storage = text_;
  const std::string_view text = head.storage;
  const auto stored = [&](Piece piece) { return text.substr(piece.at, piece.bytes); };
  head.version = Version::http2;
  head.method_text = stored(method_);
  head.method = method_of(head.method_text);
  head.scheme = stored(scheme_);
  head.authority = stored(authority_);
  head.target = stored(path_);
  head.has_body = body_follows;
  head.fields.reserve(fields_.size());
  std::size_t hosts = 0;
  for (const StoredField& field : fields_) {
    const std::string_view name = stored(field.name);
    const std::string_view value = stored(field.value);
    head.fields.push_back({name, value});
    if (name == "host") {
      if (++hosts > 1) return HeadRefusal{400, "duplicate host"};
      if (has_authority_ && !equals_ignoring_case(value, head.authority)) {
        return HeadRefusal{400, "host differs from :authority"};
      }
      head.authority = value;
    } else if (name == "content-length") {
      std::uint64_t length = 0;
      const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), length);
      if (error != std::errc{} || end != value.data() + value.size() || value.empty()) {
        return HeadRefusal{400, "content-length is not a number"};
      }
      if (head.content_length) return HeadRefusal{400, "duplicate content-length"};
      head.content_length = length;
    } else if (name == "expect") {
      head.expect_continue = body_follows && equals_ignoring_case(value, "100-continue");
    }
  }
  if (head.method_text.empty() || !all_chars(head.method_text, kTokenChar))
    return HeadRefusal{400, "method is not a token"};
  if (head.method_text == "CONNECT") return HeadRefusal{501, "CONNECT is not served"};
  if (head.scheme != "https" && head.scheme != "http") return HeadRefusal{400, "unknown scheme"};
  if (head.authority.empty() || !all_chars(head.authority, kHostChar))
    return HeadRefusal{400, "authority is missing or malformed"};
  const bool asterisk = head.target == "*" && head.method == Method::options;
  if (!asterisk && !head.target.starts_with('/')) return HeadRefusal{400, "target is not a path"};
  if (!all_chars(head.target, kTargetChar))
    return HeadRefusal{400, "target holds forbidden characters"};
  const std::size_t question = head.target.find('?');
  head.path = head.target.substr(0, question);
  if (question != std::string_view::npos) head.query = head.target.substr(question + 1);
  return std::nullopt;
}

}  // namespace weir::http

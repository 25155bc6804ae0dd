#include "http/http1_response_parser.h"

#include <algorithm>
#include <charconv>

#include "http/http1_chars.h"

namespace weir::http {
namespace {

constexpr std::size_t kLengthDigitsMax = 18;  // fits 63 bits

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

}  // namespace

Http1ResponseParser::Status Http1ResponseParser::refuse(const char* reason) {
  phase_ = Phase::failed;
  reusable_ = false;
  reason_ = reason;
  return Status::error;
}

bool Http1ResponseParser::parse_status_line(std::string_view line) {
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  if (line.size() < 12 || !line.starts_with("HTTP/1.") || (line[7] != '0' && line[7] != '1') ||
      line[8] != ' ' || !digit(line[9]) || !digit(line[10]) || !digit(line[11]) ||
      (line.size() > 12 && line[12] != ' ') || !all_chars(line, kValueChar)) {
    reason_ = "malformed status line";
    return false;
  }
  if (line[7] == '0') reusable_ = false;
  status_ = (line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0');
  reason_ = "status out of range";
  return status_ >= 100 && status_ <= 599 && status_ != 101;
}

bool Http1ResponseParser::parse_field(std::string_view line) {
  const std::size_t colon = line.find(':');
  reason_ = "malformed field";
  if (colon == std::string_view::npos || colon == 0) return false;
  const std::string_view name = line.substr(0, colon);
  const std::string_view value = trim(line.substr(colon + 1));
  if (!all_chars(name, kTokenChar) || !all_chars(value, kValueChar)) return false;
  fields_.emplace_back(lower(name), value);
  const std::string& key = fields_.back().first;
  if (key == "content-length") {
    std::uint64_t length = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), length);
    reason_ = "malformed content-length";
    if (value.empty() || value.size() > kLengthDigitsMax || error != std::errc{} ||
        end != value.data() + value.size() || (has_length_ && length != length_left_)) {
      return false;
    }
    has_length_ = true;
    length_left_ = length;
  } else if (key == "transfer-encoding") {
    reason_ = "unknown transfer-encoding";
    if (has_coding_ || !equals_ignoring_case(value, "chunked")) return false;
    has_coding_ = true;
  } else if (key == "connection" && lower(value).find("close") != std::string::npos) {
    reusable_ = false;
  }
  return true;
}

Http1ResponseParser::Status Http1ResponseParser::head_complete() {
  if (has_length_ && has_coding_) return refuse("content-length beside transfer-encoding");
  if (status_ < 200) {  // interim: the real head follows
    if (has_length_ || has_coding_) return refuse("interim response with a body");
    status_line_seen_ = false;
    fields_.clear();
    return Status::need_more;
  }
  if (bodiless_ || status_ == 204 || status_ == 304 || (has_length_ && length_left_ == 0)) {
    phase_ = Phase::done;
  } else if (has_coding_) {
    phase_ = Phase::chunked;
  } else if (has_length_) {
    phase_ = Phase::length;
  } else {
    phase_ = Phase::until_close;
    reusable_ = false;
  }
  return Status::head;
}

Http1ResponseParser::Status Http1ResponseParser::feed(std::span<const std::uint8_t>& input,
                                                      std::span<const std::uint8_t>& data) {
  while (phase_ == Phase::head) {
    if (input.empty()) return Status::need_more;
    const auto newline = std::ranges::find(input, std::uint8_t{'\n'});
    const bool whole = newline != input.end();
    const auto taken = static_cast<std::size_t>(newline - input.begin()) + (whole ? 1U : 0U);
    line_.append(reinterpret_cast<const char*>(input.data()), taken);
    input = input.subspan(taken);
    head_bytes_ += taken;
    if (head_bytes_ > kResponseHeadBytesMax) return refuse("response head too large");
    if (!whole) return Status::need_more;
    if (!line_.ends_with("\r\n")) return refuse("bare LF");
    const std::string_view line = std::string_view(line_).substr(0, line_.size() - 2);
    if (!status_line_seen_) {
      if (!parse_status_line(line)) return refuse(reason_);
      status_line_seen_ = true;
    } else if (!line.empty()) {
      if (!parse_field(line)) return refuse(reason_);
    } else {
      const Status outcome = head_complete();
      line_.clear();
      if (outcome != Status::need_more) return outcome;
    }
    line_.clear();
  }
  switch (phase_) {
    case Phase::length: {
      if (input.empty()) return Status::need_more;
      data = input.first(
          static_cast<std::size_t>(std::min<std::uint64_t>(input.size(), length_left_)));
      input = input.subspan(data.size());
      length_left_ -= data.size();
      if (length_left_ == 0) phase_ = Phase::done;
      return Status::data;
    }
    case Phase::chunked:
      switch (chunks_.decode(input, SIZE_MAX, data)) {
        case ChunkedDecoder::Status::need_more:
          return Status::need_more;
        case ChunkedDecoder::Status::data:
          return Status::data;
        case ChunkedDecoder::Status::error:
          return refuse(chunks_.reason());
        case ChunkedDecoder::Status::complete:
          break;
      }
      phase_ = Phase::done;
      return Status::complete;
    case Phase::until_close:
      if (input.empty()) return Status::need_more;
      data = input;
      input = {};
      return Status::data;
    case Phase::done:
      return Status::complete;
    default:
      return Status::error;
  }
}

Http1ResponseParser::Status Http1ResponseParser::end_of_input() {
  if (phase_ == Phase::until_close) phase_ = Phase::done;
  if (phase_ == Phase::done) return Status::complete;
  return refuse("the connection ended inside a response");
}

}  // namespace weir::http

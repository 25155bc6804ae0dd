#include "http/http1_parser.h"

#include <algorithm>
#include <cstring>

#include "http/http1_chars.h"
#include "io/check.h"

namespace weir::http {
namespace {

constexpr std::size_t kMethodBytesMax = 32;
constexpr std::size_t kContentLengthDigitsMax = 18;  // fits 63 bits
constexpr std::size_t kStorageBytesFirst = 512;      // most heads of git and curl fit

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// Takes the next element off a comma-separated list.
std::string_view next_element(std::string_view& list) {
  const std::size_t comma = std::min(list.find(','), list.size());
  const std::string_view element = trim(list.substr(0, comma));
  list.remove_prefix(std::min(comma + 1, list.size()));
  return element;
}

}  // namespace

void Http1Parser::begin(RequestHead& head) {
  *this = Http1Parser();
  head_ = &head;
  head.storage.clear();
  head.fields.clear();
  phase_ = Phase::request_line;
}

bool Http1Parser::keep_alive() const {
  if (close_) return false;
  return head_->version == Version::http11 || keep_alive_;
}

Http1Parser::Status Http1Parser::refuse(int status, const char* reason) {
  phase_ = Phase::failed;
  error_ = {status, reason};
  return Status::error;
}

// Lines are judged when they are complete and limits by position, so that how the bytes were cut
// into reads never changes the outcome.
Http1Parser::Status Http1Parser::feed(std::span<const std::uint8_t>& input) {
  WEIR_CHECK(phase_ != Phase::done);
  if (phase_ == Phase::failed) return Status::error;
  while (!input.empty()) {
    const char* text = reinterpret_cast<const char*>(input.data());
    if (head_->storage.empty() && !is_char(*text, kTokenChar) && *text != '\r') {
      return refuse(400, "this is no HTTP request");
    }
    const void* end = std::memchr(text, '\n', input.size());
    const std::size_t line_bytes =
        end == nullptr ? input.size()
                       : static_cast<std::size_t>(static_cast<const char*>(end) - text) + 1;
    const std::size_t line_total = head_->storage.size() - line_start_ + line_bytes;
    if (phase_ == Phase::request_line && line_total > kRequestLineBytesMax) {
      return refuse(414, "the request line is longer than 8 KiB");
    }
    if (head_->storage.size() + line_bytes > limits_.head_bytes_max) {
      return refuse(431, "the request head is too large");
    }
    append({text, line_bytes});
    input = input.subspan(line_bytes);
    if (end == nullptr) return Status::need_more;
    const Status status = line_complete();
    if (status != Status::need_more) return status;
  }
  return Status::need_more;
}

// Views into storage move along when it grows.
void Http1Parser::append(std::string_view bytes) {
  std::string& storage = head_->storage;
  if (storage.size() + bytes.size() > storage.capacity()) {
    std::string larger;
    larger.reserve(
        std::max({kStorageBytesFirst, storage.capacity() * 2, storage.size() + bytes.size()}));
    larger = storage;
    const auto rebase = [&](std::string_view& view) {
      if (view.empty()) {
        view = {};
        return;
      }
      const bool in_storage =
          view.data() >= storage.data() && view.data() < storage.data() + storage.size();
      if (!in_storage) return;  // a static string
      view = {larger.data() + (view.data() - storage.data()), view.size()};
    };
    for (std::string_view* view : {&head_->method_text, &head_->authority, &head_->target,
                                   &head_->path, &head_->query, &absolute_authority_}) {
      rebase(*view);
    }
    for (Field& field : head_->fields) {
      rebase(field.name);
      rebase(field.value);
    }
    storage.swap(larger);
  }
  storage.append(bytes);
}

Http1Parser::Status Http1Parser::line_complete() {
  std::string_view line = std::string_view(head_->storage).substr(line_start_);
  line.remove_suffix(1);
  if (!line.ends_with('\r')) return refuse(400, "a line ends in LF without CR");
  line.remove_suffix(1);
  const std::size_t start = line_start_;
  line_start_ = head_->storage.size();
  if (phase_ == Phase::fields) return line.empty() ? finish_head() : parse_field(line);
  if (line.empty()) {  // RFC 9112 2.2: one empty line may come before the request line
    if (start > 0) return refuse(400, "the request line is empty");
    return Status::need_more;
  }
  return parse_request_line(line);
}

Http1Parser::Status Http1Parser::parse_request_line(std::string_view line) {
  const std::size_t method_end = std::min(line.find(' '), line.size());
  const std::string_view method = line.substr(0, method_end);
  if (method.empty() || method.size() > kMethodBytesMax || !all_chars(method, kTokenChar)) {
    return refuse(400, "the method is malformed");
  }
  line.remove_prefix(std::min(method_end + 1, line.size()));
  const std::size_t target_end = std::min(line.find(' '), line.size());
  const std::string_view target = line.substr(0, target_end);
  const std::string_view version = line.substr(std::min(target_end + 1, line.size()));
  if (target.empty() || !all_chars(target, kTargetChar)) {
    return refuse(400, "the request target is malformed");
  }
  if (version == "HTTP/1.1") {
    head_->version = Version::http11;
  } else if (version == "HTTP/1.0") {
    head_->version = Version::http10;
  } else if (version.size() == 8 && version.starts_with("HTTP/") && version[6] == '.' &&
             hex_digit(version[5]) >= 0 && hex_digit(version[5]) < 10 &&
             hex_digit(version[7]) >= 0 && hex_digit(version[7]) < 10) {
    return refuse(505, method == "PRI" ? "HTTP/2 is spoken here only when TLS ALPN chose it"
                                       : "only HTTP/1.0 and HTTP/1.1 are spoken here");
  } else {
    return refuse(400, "the HTTP version is malformed");
  }
  if (method == "CONNECT") return refuse(501, "CONNECT is not supported");
  head_->method_text = method;
  head_->method = method_of(method);
  phase_ = Phase::fields;
  return parse_target(target);
}

Http1Parser::Status Http1Parser::parse_target(std::string_view target) {
  if (!target.starts_with('/')) {
    const bool asterisk = target == "*" && head_->method == Method::options;
    const std::size_t scheme_end = target.find("://");
    if (!asterisk) {
      if (scheme_end == std::string_view::npos ||
          (!equals_ignoring_case(target.substr(0, scheme_end), "https") &&
           !equals_ignoring_case(target.substr(0, scheme_end), "http"))) {
        return refuse(400, "the request target is neither a path nor an http(s) URL");
      }
      target.remove_prefix(scheme_end + 3);
      const std::size_t authority_end = std::min(target.find_first_of("/?"), target.size());
      absolute_authority_ = target.substr(0, authority_end);
      target.remove_prefix(authority_end);
      if (absolute_authority_.empty() || !all_chars(absolute_authority_, kHostChar)) {
        return refuse(400, "the authority of the request target is malformed");
      }
      if (target.starts_with('?')) return refuse(400, "the request target has no path");
      if (target.empty()) target = "/";
    }
  }
  const std::size_t path_end = std::min(target.find('?'), target.size());
  head_->target = target;
  head_->path = target.substr(0, path_end);
  head_->query = target.substr(std::min(path_end + 1, target.size()));
  return Status::request_line;
}

Http1Parser::Status Http1Parser::parse_field(std::string_view line) {
  if (line.front() == ' ' || line.front() == '\t') return refuse(400, "a header field is folded");
  if (head_->fields.size() >= limits_.fields_max) return refuse(431, "too many header fields");
  std::size_t name_end = 0;
  while (name_end < line.size() && is_char(line[name_end], kTokenChar)) ++name_end;
  if (name_end == line.size()) return refuse(400, "a header field has no colon");
  if (line[name_end] != ':') return refuse(400, "a header field name is malformed");
  if (name_end == 0) return refuse(400, "a header field has no name");
  const std::string_view value = trim(line.substr(name_end + 1));
  if (!all_chars(value, kValueChar)) return refuse(400, "a header field holds a control byte");
  const std::string_view name = line.substr(0, name_end);
  head_->fields.push_back({name, value});
  return note_field(name, value);
}

Http1Parser::Status Http1Parser::note_field(std::string_view name, std::string_view value) {
  switch (name.size()) {
    case 4:
      if (equals_ignoring_case(name, "host")) return note_host(value);
      break;
    case 6:
      if (equals_ignoring_case(name, "expect")) {
        // Other expectations are ignored: refusing them would break clients for no gain.
        expect_continue_ = expect_continue_ || equals_ignoring_case(value, "100-continue");
      }
      break;
    case 10:
      if (equals_ignoring_case(name, "connection")) note_connection(value);
      break;
    case 14:
      if (equals_ignoring_case(name, "content-length")) return note_content_length(value);
      break;
    case 17:
      if (equals_ignoring_case(name, "transfer-encoding")) return note_transfer_encoding(value);
      break;
    default:
      break;
  }
  return Status::need_more;
}

Http1Parser::Status Http1Parser::note_host(std::string_view value) {
  if (has_host_) return refuse(400, "the Host field is repeated");
  if (value.empty()) return refuse(400, "the Host field is empty");
  if (!all_chars(value, kHostChar)) return refuse(400, "the Host field is malformed");
  has_host_ = true;
  head_->authority = value;
  return Status::need_more;
}

Http1Parser::Status Http1Parser::note_content_length(std::string_view value) {
  if (head_->content_length) return refuse(400, "Content-Length is repeated");
  if (value.empty() || value.size() > kContentLengthDigitsMax) {
    return refuse(400, "Content-Length is malformed");
  }
  std::uint64_t length = 0;
  for (const char c : value) {
    if (c < '0' || c > '9') return refuse(400, "Content-Length is malformed");
    length = length * 10 + static_cast<std::uint64_t>(c - '0');
  }
  head_->content_length = length;
  return Status::need_more;
}

Http1Parser::Status Http1Parser::note_transfer_encoding(std::string_view value) {
  if (chunked_) return refuse(400, "Transfer-Encoding is repeated");
  if (value.ends_with(',')) return refuse(400, "Transfer-Encoding is malformed");
  bool others = false;
  bool last_is_chunked = false;
  do {
    const std::string_view coding = next_element(value);
    if (coding.empty() || !all_chars(coding, kTokenChar)) {
      return refuse(400, "Transfer-Encoding is malformed");
    }
    if (last_is_chunked) return refuse(400, "chunked is not the last transfer coding");
    last_is_chunked = equals_ignoring_case(coding, "chunked");
    others = others || !last_is_chunked;
  } while (!value.empty());
  if (!last_is_chunked) return refuse(400, "the last transfer coding is not chunked");
  if (others) return refuse(501, "no transfer coding but chunked is supported");
  chunked_ = true;
  return Status::need_more;
}

void Http1Parser::note_connection(std::string_view value) {
  while (!value.empty()) {
    const std::string_view option = next_element(value);
    close_ = close_ || equals_ignoring_case(option, "close");
    keep_alive_ = keep_alive_ || equals_ignoring_case(option, "keep-alive");
  }
}

Http1Parser::Status Http1Parser::finish_head() {
  if (chunked_ && head_->content_length) {
    return refuse(400, "both Content-Length and Transfer-Encoding are given");
  }
  if (chunked_ && head_->version == Version::http10) {
    return refuse(400, "HTTP/1.0 has no Transfer-Encoding");
  }
  if (!has_host_ && head_->version == Version::http11) {
    return refuse(400, "the Host field is missing");
  }
  if (!absolute_authority_.empty()) {
    if (has_host_ && !equals_ignoring_case(absolute_authority_, head_->authority)) {
      return refuse(400, "the Host field differs from the request target");
    }
    head_->authority = absolute_authority_;
  }
  head_->has_body = chunked_ || head_->content_length.value_or(0) > 0;
  head_->expect_continue = expect_continue_ && head_->has_body && head_->version == Version::http11;
  phase_ = Phase::done;
  return Status::complete;
}

}  // namespace weir::http

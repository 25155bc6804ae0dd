#pragma once
// Http1Parser: a strict, incremental, sans-IO parser of HTTP/1.x request heads. It copies each byte
// of the head once, into RequestHead::storage, and every view points there. Owned by its session;
// loop thread only. Bounded by kRequestLineBytesMax and by the HeadLimits its owner sets when it
// reports the request line. Everything that two parsers could read differently is refused with a
// status and a reason. Format: RFC 9112; see tests/http/http1_parser_test.cc for what is refused.

#include <cstdint>
#include <span>
#include <string_view>

#include "http/message.h"

namespace weir::http {

struct ParseError {
  int status = 0;           // what to answer
  const char* reason = "";  // static, fit for people
};

class Http1Parser {
 public:
  enum class Status : std::uint8_t {
    need_more,
    request_line,  // head.method_text and head.target are known: set_limits(), then feed() on
    complete,      // `input` starts at the first byte behind the head
    error,         // see error(); the connection cannot be used further
  };

  // Starts a request. `head` is fresh and outlives the parse; its storage and fields may bring
  // capacity along.
  void begin(RequestHead& head);
  void set_limits(HeadLimits limits) { limits_ = limits; }
  // Takes what it needs off the front of `input`.
  Status feed(std::span<const std::uint8_t>& input);

  bool started() const { return head_ != nullptr && !head_->storage.empty(); }
  const ParseError& error() const { return error_; }
  // Of a complete head:
  bool chunked() const { return chunked_; }
  bool keep_alive() const;

 private:
  enum class Phase : std::uint8_t { request_line, fields, done, failed };

  void append(std::string_view bytes);
  Status line_complete();
  Status refuse(int status, const char* reason);
  Status parse_request_line(std::string_view line);
  Status parse_target(std::string_view target);
  Status parse_field(std::string_view line);
  Status note_field(std::string_view name, std::string_view value);
  Status note_host(std::string_view value);
  Status note_content_length(std::string_view value);
  Status note_transfer_encoding(std::string_view value);
  void note_connection(std::string_view value);
  Status finish_head();

  RequestHead* head_ = nullptr;
  Phase phase_ = Phase::done;
  HeadLimits limits_ = kHeadLimitsDefault;
  std::size_t line_start_ = 0;  // in storage
  ParseError error_;
  std::string_view absolute_authority_;  // of an absolute-form target
  bool has_host_ = false;
  bool chunked_ = false;
  bool close_ = false;
  bool keep_alive_ = false;
  bool expect_continue_ = false;
};

}  // namespace weir::http

#pragma once
// Http1ResponseParser: strict, incremental, sans-IO parser of HTTP/1.x responses: head, then a body
// by length, chunked or until the connection ends. Interim 1xx heads are skipped. Owned by the
// session below; bounded by kResponseHeadBytesMax; after an error the connection cannot be used.
// Format: RFC 9112. Http1Client (make_http1_client) carries one call at a time over it.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "http/chunked_decoder.h"
#include "http/client_connection.h"

namespace weir::http {

class Http1ResponseParser {
 public:
  enum class Status : std::uint8_t {
    need_more,  // the input is used up
    head,       // status() and fields() are known
    data,       // `data` lends bytes of the body
    complete,
    error,
  };

  // `bodiless`: the answer to HEAD.
  explicit Http1ResponseParser(bool bodiless) : bodiless_(bodiless) {}
  Status feed(std::span<const std::uint8_t>& input, std::span<const std::uint8_t>& data);
  // The connection has ended: complete or error.
  Status end_of_input();

  int status() const { return status_; }
  ClientFields& fields() { return fields_; }
  // The connection may carry another request after `complete`.
  bool reusable() const { return reusable_ && phase_ == Phase::done; }
  const char* reason() const { return reason_; }  // static, after Status::error

 private:
  enum class Phase : std::uint8_t { head, length, chunked, until_close, done, failed };

  Status refuse(const char* reason);
  bool parse_status_line(std::string_view line);
  bool parse_field(std::string_view line);
  Status head_complete();

  const bool bodiless_;
  Phase phase_ = Phase::head;
  std::string line_;
  std::size_t head_bytes_ = 0;
  bool status_line_seen_ = false;
  int status_ = 0;
  ClientFields fields_;
  bool reusable_ = true;
  bool has_length_ = false;
  bool has_coding_ = false;
  std::uint64_t length_left_ = 0;
  ChunkedDecoder chunks_;
  const char* reason_ = "";
};

}  // namespace weir::http

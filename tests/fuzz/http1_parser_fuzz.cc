// Any bytes, cut at a place of the fuzzer's choice, end as they do in one piece; views stay inside.
#include <string>

#include "http/http1_parser.h"
#include "io/check.h"

namespace weir::http {
namespace {

struct Outcome {
  Http1Parser::Status status = Http1Parser::Status::need_more;
  int error_status = 0;
  std::string head;
  bool operator==(const Outcome&) const = default;
};

Http1Parser::Status feed(Http1Parser& parser, std::span<const std::uint8_t> input) {
  Http1Parser::Status status = parser.feed(input);
  while (status == Http1Parser::Status::request_line) status = parser.feed(input);
  return status;
}

void append_view(const RequestHead& head, std::string_view view, std::string& out) {
  const bool inside = view.data() >= head.storage.data() &&
                      view.data() + view.size() <= head.storage.data() + head.storage.size();
  WEIR_CHECK(view.empty() || inside || view == "/");
  out.append(view).push_back('|');
}

Outcome parse(std::span<const std::uint8_t> bytes, std::size_t cut) {
  RequestHead head;
  Http1Parser parser;
  parser.begin(head);
  Outcome outcome;
  outcome.status = feed(parser, bytes.first(cut));
  if (outcome.status == Http1Parser::Status::need_more) {
    outcome.status = feed(parser, bytes.subspan(cut));
  }
  if (outcome.status == Http1Parser::Status::error) outcome.error_status = parser.error().status;
  if (outcome.status != Http1Parser::Status::complete) return outcome;
  for (const std::string_view view :
       {head.method_text, head.authority, head.target, head.path, head.query}) {
    append_view(head, view, outcome.head);
  }
  for (const Field& field : head.fields) {
    append_view(head, field.name, outcome.head);
    append_view(head, field.value, outcome.head);
  }
  WEIR_CHECK(!(parser.chunked() && head.content_length));
  outcome.head += std::to_string(head.content_length.value_or(0)) + (head.has_body ? "b" : "") +
                  (parser.keep_alive() ? "k" : "");
  return outcome;
}

}  // namespace
}  // namespace weir::http

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::span<const std::uint8_t> bytes(data + 1, size - 1);
  const std::size_t cut = bytes.empty() ? 0 : data[0] * bytes.size() / 256;
  WEIR_CHECK(weir::http::parse(bytes, cut) == weir::http::parse(bytes, 0));
  return 0;
}

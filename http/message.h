#pragma once
// HTTP messages as Weir sees them, the same for both versions: a request head whose strings live in
// its own arena, a response head, and the limits of heads. Field names are compared without case
// and stored as received (HTTP/2: lower case). Immutable once parsed; owned by the Exchange.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace weir::http {

enum class Version : std::uint8_t { http10, http11, http2 };
enum class Method : std::uint8_t { get, head, post, put, delete_, patch, options, other };

struct Field {
  std::string_view name;
  std::string_view value;  // outer whitespace removed
};

struct RequestHead {
  Method method = Method::other;
  std::string_view method_text;
  std::string_view scheme;     // HTTP/2 only
  std::string_view authority;  // Host or :authority
  std::string_view target;     // as received, origin form: path and query
  std::string_view path;       // target up to '?', percent-encoded as received
  std::string_view query;      // after '?', or empty
  Version version = Version::http11;
  std::vector<Field> fields;
  std::optional<std::uint64_t> content_length;
  bool has_body = false;  // a body follows, of known length or not
  bool expect_continue = false;
  std::string storage;  // backs every view above

  RequestHead() = default;
  RequestHead(const RequestHead&) = delete;  // views into storage
  RequestHead& operator=(const RequestHead&) = delete;

  // First field of that name (case-insensitive), or nullopt.
  std::optional<std::string_view> field(std::string_view name) const;
};

struct ResponseHead {
  int status = 200;
  // content-length and transfer-encoding are the session's business; never listed here.
  std::vector<std::pair<std::string_view, std::string>> fields;  // names lower case, static
  std::optional<std::uint64_t> content_length;  // nullopt: chunked or HTTP/2 framing
};

// Limits of a request head, chosen per route once the request line is known.
struct HeadLimits {
  std::size_t head_bytes_max;
  std::size_t fields_max;
};
inline constexpr std::size_t kRequestLineBytesMax = 8 * 1024;
inline constexpr HeadLimits kHeadLimitsDefault{32 * 1024, 100};
inline constexpr HeadLimits kHeadLimitsMercurial{1024 * 1024, 1000};  // X-HgArg-N of old clients
static_assert(kHeadLimitsDefault.head_bytes_max > kRequestLineBytesMax);

Method method_of(std::string_view text);  // names are case-sensitive
bool equals_ignoring_case(std::string_view a, std::string_view b);
// "Not Found" etc.; "" for unknown codes.
std::string_view reason_phrase(int status);

}  // namespace weir::http

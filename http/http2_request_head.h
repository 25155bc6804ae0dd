#pragma once
// Http2RequestHeadBuilder: collects the decoded fields of one header block and makes a RequestHead
// of them, or says why not. One per session is enough: header blocks never interleave (RFC 9113
// §4.3). Bounded by the HeadLimits given once method and path are known (the default ones until
// then); fields over the limit are counted and dropped. Assumes the HPACK and field checks of the
// library; adds what it leaves out: target form, Host rules, scheme, sizes. Sans-IO; owned by the
// session.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "http/message.h"

namespace weir::http {

struct HeadRefusal {
  int status;
  std::string_view reason;  // static
};

// RFC 9113 §6.5.2: a field's size in a header list is its name, its value and this.
inline constexpr std::size_t kFieldOverheadBytes = 32;
// A header list this many times over its limit is not an accident.
inline constexpr std::size_t kHeadOverrunFactor = 4;

class Http2RequestHeadBuilder {
 public:
  void reset();
  void add(std::string_view name, std::string_view value);
  // Regular fields are about to come: the route's limits should be set now.
  bool limits_wanted() const { return !limits_set_; }
  void set_limits(HeadLimits limits);
  std::string_view method() const { return view(method_); }
  std::string_view target() const { return view(path_); }
  bool over_limit() const { return bytes_ > limits_.head_bytes_max || count_ > limits_.fields_max; }
  bool far_over_limit() const { return bytes_ / kHeadOverrunFactor > limits_.head_bytes_max; }
  // Fills `head`, or refuses. `body_follows`: no END_STREAM on the header block.
  std::optional<HeadRefusal> finish(RequestHead& head, bool body_follows);

 private:
  struct Piece {
    std::size_t at = 0;
    std::size_t bytes = 0;
  };
  struct StoredField {
    Piece name;
    Piece value;
  };
  Piece store(std::string_view text);
  std::string_view view(Piece piece) const {
    return std::string_view(text_).substr(piece.at, piece.bytes);
  }

  std::string text_;
  std::vector<StoredField> fields_;
  Piece method_, scheme_, authority_, path_;
  bool has_authority_ = false;
  bool target_too_long_ = false;
  std::size_t bytes_ = 0;
  std::size_t count_ = 0;
  bool limits_set_ = false;
  HeadLimits limits_ = kHeadLimitsDefault;
};

}  // namespace weir::http

#include "git/receive_commands.h"

#include <algorithm>

#include "git/loose_refs.h"
#include "git/pkt_line.h"
#include "git/ref_name.h"

namespace weir::git {
namespace {

using io::Errc;
using io::fail;
using io::Result;

}  // namespace

bool valid_push_ref(std::string_view name, bool is_delete) {
  static_assert(kPushRefSlashesMax < kLooseRefDepthMax);
  if (name.size() > kPushRefBytesMax || !is_ref_name(name)) return false;
  const auto slashes = std::ranges::count(name, '/');
  return is_delete || (slashes >= 2 && slashes <= kPushRefSlashesMax);
}

Result<bool> ReceiveCommandsParser::feed(std::string_view bytes) {
  bytes_.append(bytes);
  while (state_ != State::complete) {
    Pkt pkt;
    const PktStatus status = read_pkt(std::string_view(bytes_).substr(parsed_), pkt);
    if (status == PktStatus::malformed) return fail(Errc::protocol, "bad pkt-line length");
    if (status == PktStatus::need_more) {
      if (bytes_.size() > bytes_max_) return fail(Errc::limit, "too many ref updates in one push");
      return false;
    }
    if (parsed_ + pkt.bytes > bytes_max_) {
      return fail(Errc::limit, "too many ref updates in one push");
    }
    Result<void> taken;
    if (pkt.kind == PktKind::flush) {
      taken = take_flush();
    } else if (pkt.kind != PktKind::data) {
      return fail(Errc::protocol, "unexpected special packet");
    } else {
      const bool certificate = state_ == State::certificate_head ||
                               state_ == State::certificate_commands ||
                               state_ == State::certificate_signature;
      // git joins the packets of a certificate and ends each at a NUL: without its line feed a line
      // would be another one there.
      if (certificate &&
          (!pkt.payload.ends_with('\n') || pkt.payload.find('\0') != pkt.payload.npos)) {
        return fail(Errc::protocol, "bad push certificate");
      }
      taken = take(pkt_text(pkt));
    }
    if (!taken) return std::unexpected(taken.error());
    parsed_ += pkt.bytes;
  }
  return true;
}

Result<void> ReceiveCommandsParser::take_flush() {
  if (state_ == State::commands) {
    if (commands_.certificate && commands_.commands.empty()) {
      return fail(Errc::protocol, "the push certificate has no commands");
    }
    // A lone flush is git's probe before a big push, also when the client has nothing to send.
    state_ = commands_.push_options ? State::options : State::complete;
    return {};
  }
  if (state_ == State::options) {
    state_ = State::complete;
    return {};
  }
  return fail(Errc::protocol, "the push certificate is cut short");
}

Result<void> ReceiveCommandsParser::take(std::string_view text) {
  switch (state_) {
    case State::certificate_head:
      if (text.find('\n') != text.npos) return fail(Errc::protocol, "bad push certificate");
      if (text.empty()) state_ = State::certificate_commands;
      return {};
    case State::certificate_commands:
      if (text.starts_with("-----BEGIN ")) {
        state_ = State::certificate_signature;
        return {};
      }
      if (text == "push-cert-end")
        return fail(Errc::protocol, "the push certificate is not signed");
      return take_command(text);
    case State::certificate_signature:
      if (text.find('\n') != text.npos) return fail(Errc::protocol, "bad push certificate");
      if (text == "push-cert-end") {
        state_ = State::commands;
        certificate_ended_ = true;
      }
      return {};
    case State::options:
      return take_option(text);
    case State::commands:
    case State::complete:
      break;
  }
  if (text.starts_with("shallow ")) {
    const std::optional<ObjectId> id = ObjectId::from_hex(text.substr(8));
    if (!id || id->bytes != hash_bytes(format_)) {
      return fail(Errc::protocol, "a shallow line is not 'shallow <object-id>'");
    }
    if (++commands_.shallows > kPushShallowsMax) {
      return fail(Errc::limit, "too many shallow lines");
    }
    return {};
  }
  if (certificate_ended_) return fail(Errc::protocol, "commands beside the push certificate");
  if (const std::size_t nul = text.find('\0'); nul != text.npos && !capabilities_read_) {
    capabilities_read_ = true;
    const Result<void> taken = take_capabilities(text.substr(nul + 1));
    if (!taken) return taken;
    text = text.substr(0, nul);
  }
  if (text == "push-cert") {
    if (!commands_.commands.empty()) {
      return fail(Errc::protocol, "commands beside the push certificate");
    }
    commands_.certificate = true;
    state_ = State::certificate_head;
    return {};
  }
  return take_command(text);
}

Result<void> ReceiveCommandsParser::take_command(std::string_view text) {
  const std::size_t digits = 2 * hash_bytes(format_);
  if (text.size() < 2 * digits + 3 || text[digits] != ' ' || text[2 * digits + 1] != ' ' ||
      text.find('\0') != text.npos || text.find('\n') != text.npos) {
    return fail(Errc::protocol, "a command is not '<old-id> <new-id> <ref>'");
  }
  const std::optional<ObjectId> old_id = ObjectId::from_hex(text.substr(0, digits));
  const std::optional<ObjectId> new_id = ObjectId::from_hex(text.substr(digits + 1, digits));
  if (!old_id || !new_id) return fail(Errc::protocol, "a command has a bad object id");
  if (commands_.commands.size() == kPushCommandsMax) {
    return fail(Errc::limit, "too many ref updates in one push");
  }
  const std::string_view ref = text.substr(2 * digits + 2);
  commands_.commands.push_back(
      {*old_id, *new_id, std::string(ref), valid_push_ref(ref, new_id->is_null())});
  return {};
}

Result<void> ReceiveCommandsParser::take_capabilities(std::string_view list) {
  bool format_matches = true;  // judged at the end: the rest decides how a refusal is shown
  while (!list.empty()) {
    const std::size_t space = list.find(' ');
    const std::string_view word = list.substr(0, space);
    list.remove_prefix(space == list.npos ? list.size() : space + 1);
    if (word == "report-status") commands_.report_status = true;
    if (word == "report-status-v2") commands_.report_status_v2 = true;
    if (word == "side-band-64k") commands_.sideband = true;
    if (word == "atomic") commands_.atomic = true;
    if (word == "push-options") commands_.push_options = true;
    if (word.starts_with("agent=")) commands_.agent = word.substr(6);
    if (word.starts_with("object-format=") && word.substr(14) != format_name(format_)) {
      format_matches = false;
    }
  }
  if (!format_matches) return fail(Errc::protocol, "mismatched object format");
  return {};
}

Result<void> ReceiveCommandsParser::take_option(std::string_view text) {
  if (text.size() > kPushOptionBytesMax) return fail(Errc::limit, "a push option is too long");
  if (text.find('\0') != text.npos || text.find('\n') != text.npos) {
    return fail(Errc::protocol, "a push option holds a NUL or a line feed");
  }
  if (commands_.options.size() == kPushOptionsMax) {
    return fail(Errc::limit, "too many push options");
  }
  commands_.options.emplace_back(text);
  return {};
}

}  // namespace weir::git

#include "tests/sim/pipeline_judge.h"

#include <algorithm>
#include <optional>

#include "git/pkt_line.h"
#include "git/pkt_relay.h"
#include "tests/sim/sim_plans.h"

namespace weir::sim {
namespace {

// One ERR packet and nothing else; its text.
std::optional<std::string> error_packet(std::string_view body) {
  git::Pkt pkt;
  const bool whole = git::read_pkt(body, pkt) == git::PktStatus::complete &&
                     pkt.kind == git::PktKind::data && pkt.bytes == body.size();
  if (!whole || !pkt.payload.starts_with("ERR ")) return std::nullopt;
  return std::string(pkt.payload.substr(4));
}

// The body without the keepalives that the server puts between sideband packets.
std::string without_keepalives(std::string_view body) {
  std::string out;
  git::Pkt pkt;
  while (git::read_pkt(body, pkt) == git::PktStatus::complete) {
    if (body.substr(0, pkt.bytes) != git::kKeepalive) out += body.substr(0, pkt.bytes);
    body.remove_prefix(pkt.bytes);
  }
  return out += body;
}

// Ends with a fatal message on band 3, after which no client takes it for whole.
bool ends_fatally(std::string_view body) {
  git::Pkt pkt;
  bool fatal = false;
  while (git::read_pkt(body, pkt) == git::PktStatus::complete) {
    fatal = pkt.payload.starts_with(static_cast<char>(git::Band::error));
    body.remove_prefix(pkt.bytes);
  }
  return fatal && body.empty();
}

// Refs of an advertisement or an ls-refs answer; nullopt if it is not whole.
std::optional<SimRepositories::Refs> refs_in(std::string_view body) {
  SimRepositories::Refs refs;
  bool flushed = false;
  git::Pkt pkt;
  while (!body.empty()) {
    if (git::read_pkt(body, pkt) != git::PktStatus::complete) return std::nullopt;
    body.remove_prefix(pkt.bytes);
    flushed = pkt.kind == git::PktKind::flush;
    if (pkt.kind != git::PktKind::data) continue;
    std::string_view text = git::pkt_text(pkt);
    text = text.substr(0, text.find('\0'));
    const std::size_t space = text.find(' ');
    if (space != 40) continue;  // a banner
    std::string_view name = text.substr(41);
    const std::string id(text.substr(0, 40));
    if (const std::size_t peeled = name.find(" peeled:"); peeled != name.npos) {
      refs[std::string(name.substr(0, peeled)) + "^{}"] = name.substr(peeled + 8);
      name = name.substr(0, peeled);
    }
    refs[std::string(name.substr(0, name.find(' ')))] = id;
  }
  if (!flushed) return std::nullopt;
  return refs;
}

std::string compare_refs(const Ask& ask, const SimRepositories& repositories, const Facts& facts,
                         std::string_view body) {
  if (ask.kind == AskKind::advertise && ask.version == 2) {
    const bool whole = body.find("version 2\n") != body.npos && body.ends_with("0000");
    return whole ? "" : "not the capabilities";
  }
  std::optional<SimRepositories::Refs> refs = refs_in(body);
  if (!refs) return "the advertisement is not whole";
  SimRepositories::Refs expected =
      ask.moving ? repositories.moving_refs() : repositories.static_refs();
  if (ask.kind == AskKind::advertise_push) {
    std::erase_if(expected, [](const auto& ref) {
      return ref.first == "HEAD" || ref.first.ends_with("^{}");
    });
  }
  if (ask.moving) {
    for (const auto& [name, id] : facts.acknowledged) {
      if (!refs->contains(name)) return "an acknowledged push is not shown: " + name;
    }
    for (const auto& ref : facts.moved) {
      if (refs->contains(ref.first)) expected.insert(ref);
    }
  }
  return *refs == expected ? "" : "other refs than there are";
}

// The answer of a plan: what comes before the pack, the pack, and the end.
Judgement judge_planned(const Ask& ask, std::string_view body) {
  const std::string_view head = ask.version == 2 ? "000dpackfile\n" : "0008NAK\n";
  if (!body.starts_with(head)) return {.violation = "a planned answer without its head"};
  body.remove_prefix(head.size());
  std::string pack;
  bool flushed = false;
  if (ask.version != 2 && !ask.sideband) {
    pack = body;
    flushed = true;
  }
  git::Pkt pkt;
  while (!flushed && git::read_pkt(body, pkt) == git::PktStatus::complete) {
    body.remove_prefix(pkt.bytes);
    flushed = pkt.kind == git::PktKind::flush && body.empty();
    if (pkt.payload.starts_with(static_cast<char>(git::Band::data))) pack += pkt.payload.substr(1);
  }
  if (!flushed) return {.violation = "a planned answer is not whole"};
  if (!SimPlans::made(pack)) return {.violation = "another pack than was planned"};
  return {.violation = "", .served = true, .planned = true};
}

Judgement judge_fetch(const PipelineScript& script, const Ask& ask, const std::string& body) {
  if (const auto error = error_packet(body)) {
    if (ask.want == Want::hidden) {
      const bool says_so = error->find("not our ref") != error->npos;
      if (script.roomy && !says_so) return {.violation = "not refused for the reason: " + *error};
      return {.violation = "", .served = says_so};
    }
    if (script.roomy && ask.child.sound()) return {.violation = "refused: " + *error};
    return {};
  }
  if (ask.want == Want::hidden) return {.violation = "a hidden object was given"};
  const bool packets = ask.version == 2 || ask.sideband;
  if (packets && ends_fatally(body)) {
    const bool must_work = script.roomy && ask.child.sound();
    return {.violation = must_work ? "a fatal end" : ""};
  }
  if (ask.children == 0) return judge_planned(ask, body);
  if (!ask.child.sound()) return {.violation = "the answer of a failed child looks whole"};
  if ((packets ? without_keepalives(body) : body) != answer_of(ask)) {
    return {.violation = "wrong answer of " + std::to_string(body.size()) + " bytes"};
  }
  return {.violation = "", .served = true};
}

// What stands in a push's report; nullopt: the answer is not whole.
std::optional<std::string> report_in(const Ask& ask, std::string_view body) {
  if (!ask.sideband) return std::string(body);
  std::string report;
  bool flushed = false;
  git::Pkt pkt;
  while (!body.empty()) {
    if (flushed || git::read_pkt(body, pkt) != git::PktStatus::complete) return std::nullopt;
    body.remove_prefix(pkt.bytes);
    flushed = pkt.kind == git::PktKind::flush;
    if (flushed) continue;
    if (pkt.kind != git::PktKind::data || pkt.payload.empty()) return std::nullopt;
    if (pkt.payload[0] == static_cast<char>(git::Band::data)) report += pkt.payload.substr(1);
  }
  if (!flushed) return std::nullopt;
  return report;
}

Judgement judge_push(const PipelineScript& script, const Ask& ask, const Facts& facts,
                     const std::string& body) {
  const bool must_work = script.roomy && ask.child.sound() && !ask.cut_body;
  if (const auto error = error_packet(body)) {
    if (must_work) return {.violation = "refused: " + *error};
    return {};
  }
  const auto report = report_in(ask, body);
  if (!report) return {.violation = "the push's answer is not whole"};
  const bool lasts = ask.moved_at != 0 && facts.synced_at > ask.moved_at;
  if (!ask.report) {
    // A clean end is all it is told.
    if (!report->empty()) return {.violation = "a report that was not asked for"};
    if (ask.child.fate == ChildFate::refuses) return {};
    if (!ask.child.sound()) return {.violation = "a failed push ends well"};
    if (!lasts) return {.violation = "a push ends well before it is on disk"};
    return {.violation = "", .served = true, .acknowledged = true};
  }
  std::string_view rest = *report;
  bool accepted = false, declined = false, flushed = false;
  git::Pkt pkt;
  while (git::read_pkt(rest, pkt) == git::PktStatus::complete) {
    rest.remove_prefix(pkt.bytes);
    flushed = pkt.kind == git::PktKind::flush;
    if (pkt.kind != git::PktKind::data) continue;
    const std::string_view text = git::pkt_text(pkt);
    accepted = accepted || text == "ok " + ask.ref();
    declined = declined || text.starts_with("ng " + ask.ref() + " ");
  }
  if (!rest.empty() || !flushed || accepted == declined) {
    return {.violation = "the push's report is not whole"};
  }
  if (accepted && ask.moved_at == 0) return {.violation = "told ok, but no ref was moved"};
  if (accepted && !lasts) return {.violation = "told ok before it was on disk"};
  if (must_work && !accepted) return {.violation = "not accepted: " + *report};
  const bool refused_well = ask.child.fate == ChildFate::refuses && declined;
  return {.violation = "", .served = accepted || refused_well, .acknowledged = accepted};
}

}  // namespace

Judgement judge_answer(const PipelineScript& script, const Ask& ask,
                       const SimRepositories& repositories, const Facts& facts,
                       const http::ClientResponse& answer) {
  const int expected = ask.refusal != nullptr ? ask.refusal->status : 200;
  if (answer.status != expected) {
    const bool damped = ask.who == Who::liar && answer.status == 429;
    const bool busy = !script.roomy && (answer.status == 429 || answer.status == 503);
    if (damped || busy) return {};
    return {.violation = "status " + std::to_string(answer.status) + " " + answer.body};
  }
  switch (ask.kind) {
    case AskKind::refused:
      return {.violation = "", .served = true};
    case AskKind::probe:
      if (!answer.body.empty() && (script.roomy || !error_packet(answer.body))) {
        return {.violation = "an answer to a probe"};
      }
      return {.violation = "", .served = true};
    case AskKind::fetch:
      return judge_fetch(script, ask, answer.body);
    case AskKind::push:
      return judge_push(script, ask, facts, answer.body);
    case AskKind::ls_refs:
      if (!script.roomy && error_packet(answer.body)) return {};
      break;
    case AskKind::advertise:
    case AskKind::advertise_push:
      break;
  }
  const std::string wrong = compare_refs(ask, repositories, facts, answer.body);
  return {.violation = wrong, .served = wrong.empty()};
}

bool may_fail(const PipelineScript& script, const Ask& ask, const Connected& at, bool draining,
              const io::Error& error) {
  if (at.left || at.cut || error.code == io::Errc::cancelled) return true;
  // A drain refuses what it has not begun; what it has begun it finishes. After the last answer of
  // a drain the server lingers while its kernel says that bytes are acknowledged; ours does not.
  if (draining && (ask.handled == 0 || at.http2)) return true;
  // One that asks whether to send its body, and sends it without a look, may be cut.
  const bool has_body = !ask.body.empty();
  if (ask.expect && has_body && !at.http2 && (ask.kind == AskKind::refused || !script.roomy)) {
    return true;
  }
  if (ask.kind != AskKind::fetch && ask.kind != AskKind::push) return false;
  const bool not_lasting =
      ask.kind == AskKind::push && !ask.report && (script.sync_fails || script.pool_full_odds > 0);
  return !ask.child.sound() || not_lasting || script.launcher_dies_after.has_value();
}

}  // namespace weir::sim

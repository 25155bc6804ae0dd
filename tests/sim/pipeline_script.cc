#include "tests/sim/pipeline_script.h"

#include <algorithm>
#include <array>

#include "git/pkt_line.h"
#include "tests/sim/script.h"

namespace weir::sim {
namespace {

using io::SeededRandom;

constexpr std::uint64_t kPlansStream = 0x736e616c70;
constexpr std::string_view kZeroId = "0000000000000000000000000000000000000000";

ChildScript draw_child(SeededRandom& random) {
  ChildScript child;
  if (random.one_in(2)) {
    child.fate = static_cast<ChildFate>(random.between(0, kChildFates - 1));
  }
  child.cannot_start = random.one_in(30);
  child.starts_in = random.duration_up_to(random.one_in(20) ? 12s : 1s);
  child.dies_in = random.duration_up_to(random.one_in(10) ? 3s : 100ms);
  child.thinks = random.duration_up_to(20s);
  child.stalls = random.duration_up_to(random.one_in(4) ? 30s : 1s);
  child.turn_per_mille = random.between(0, 1000);
  child.piece_bytes_max = 1 + random.up_to(random.one_in(2) ? 100 : 70'000);
  child.chatter_bytes = random.one_in(3) ? random.up_to(5000) : 0;
  child.exit_code = static_cast<int>(random.one_in(2) ? 128 : random.between(1, 127));
  child.moves_first = random.one_in(2);
  child.leaves_lock = random.one_in(3);
  return child;
}

Ask& draw_ask(SeededRandom& random, PipelineScript& script) {
  Ask& ask = script.asks.emplace_back();
  ask.number = script.asks.size() - 1;
  // Fetches and pushes have most to go wrong.
  ask.kind = random.one_in(3) ? static_cast<AskKind>(random.between(0, kAskKinds - 1))
                              : (random.one_in(2) ? AskKind::fetch : AskKind::push);
  ask.moving = ask.kind == AskKind::push || ask.kind == AskKind::advertise_push || random.one_in(2);
  ask.who = ask.kind == AskKind::push || ask.kind == AskKind::advertise_push ? Who::writer
            : ask.moving || random.one_in(2)                                 ? Who::reader
                                                                             : Who::nobody;
  ask.version = static_cast<int>(random.between(0, 2));
  if (ask.kind == AskKind::ls_refs) ask.version = 2;
  ask.sideband = !random.one_in(4);
  ask.report = ask.sideband || !random.one_in(3);
  ask.want = static_cast<Want>(random.one_in(2) ? 0 : random.between(0, 2));
  if (ask.moving) ask.want = Want::advertised;
  const std::size_t bytes_max = std::min<std::size_t>(100'000, script.faults.pipe_bytes_max * 8);
  ask.pack_bytes = 1 + random.up_to(bytes_max);
  ask.cut_body = ask.kind == AskKind::push && random.one_in(12);
  ask.gzip = random.one_in(4) && (ask.kind != AskKind::push || ask.pack_bytes < 20'000);
  ask.chunked = random.one_in(2);
  ask.expect = random.one_in(6);
  ask.token_in_agent = random.one_in(4);
  ask.style = static_cast<ReadingStyle>(random.one_in(2) ? 0 : random.between(0, 3));
  ask.pause = random.duration_up_to(1s);
  if (ask.kind == AskKind::refused) {
    ask.refusal = &refusals()[random.between(0, refusals().size() - 1)];
    ask.who = ask.refusal->who;
    ask.gzip = false;
  }
  ask.child = draw_child(random);
  // Tiny pieces of much are many turns.
  ask.child.piece_bytes_max = std::max(ask.child.piece_bytes_max, ask.pack_bytes / 64);
  return ask;
}

std::string fetch_body(const Ask& ask, const SimRepositories& repositories) {
  const SimRepositories::Refs& refs =
      ask.moving ? repositories.moving_refs() : repositories.static_refs();
  const std::string& id = ask.want == Want::advertised  ? refs.at("refs/heads/main")
                          : ask.want == Want::reachable ? repositories.reachable()
                                                        : repositories.unreachable();
  std::string body;
  if (ask.version == 2) {
    git::append_pkt(body, "command=fetch");
    git::append_delim(body);
    git::append_pkt(body, "want " + id);
    git::append_pkt(body, "done");
    git::append_flush(body);
    return body;
  }
  git::append_pkt(body, "want " + id + (ask.sideband ? " side-band-64k" : "") + " ofs-delta\n");
  git::append_flush(body);
  git::append_pkt(body, "done\n");
  return body;
}

std::string push_body(const Ask& ask, const SimRepositories& repositories) {
  std::string command = std::string(kZeroId) + " " + repositories.pushed() + " " + ask.ref();
  command += '\0';
  if (ask.report) command += " report-status";
  if (ask.sideband) command += " side-band-64k";
  std::string body;
  git::append_pkt(body, command);
  if (ask.cut_body) return body;
  git::append_flush(body);
  body += "PACK";
  const auto pack = pattern(ask.number, 0, ask.pack_bytes);
  body.append(pack.begin(), pack.end());
  return body;
}

}  // namespace

const std::vector<Refusal>& refusals() {
  static const std::vector<Refusal> all = {
      {"GET", "/open/static.git/info/refs", Who::nobody, nullptr, 403},
      {"GET", "/open/static.git/HEAD", Who::nobody, nullptr, 403},
      {"GET", "/open/static.git/info/refs?service=git-dance", Who::nobody, nullptr, 403},
      {"POST", "/open/static.git/info/refs?service=git-upload-pack", Who::nobody, nullptr, 405},
      {"GET", "/open/static.git/git-upload-pack", Who::nobody, nullptr, 405},
      {"POST", "/open/static.git/info/lfs/objects/batch", Who::nobody, nullptr, 404},
      {"GET", "/", Who::nobody, nullptr, 404},
      {"GET", "/-/status", Who::writer, nullptr, 404},
      {"GET", "/open/../acme/moving.git/info/refs?service=git-upload-pack", Who::writer, nullptr,
       400},
      {"GET", "/acme/moving.git/info/refs?service=git-upload-pack", Who::nobody, nullptr, 401},
      {"GET", "/acme/moving.git/info/refs?service=git-upload-pack", Who::liar, nullptr, 401},
      {"GET", "/acme/moving.git/info/refs?service=git-upload-pack", Who::stranger, nullptr, 404},
      {"GET", "/open/missing.git/info/refs?service=git-upload-pack", Who::nobody, nullptr, 401},
      {"GET", "/acme/missing.git/info/refs?service=git-upload-pack", Who::reader, nullptr, 404},
      {"GET", "/acme/moving.git/info/refs?service=git-receive-pack", Who::reader, nullptr, 403},
      {"POST", "/acme/moving.git/git-receive-pack", Who::reader, nullptr, 403},
      {"POST", "/open/static.git/git-upload-pack", Who::nobody, "content-type: text/plain", 415},
      {"POST", "/open/static.git/git-upload-pack", Who::nobody, "content-encoding: br", 415},
      {"POST", "/open/static.git/git-upload-pack", Who::nobody, "content-encoding: gzip", 400},
  };
  return all;
}

PipelineScript draw_pipeline_script(SeededRandom& random) {
  PipelineScript script;
  // A stream of their own: seeds from before there were plans are still the same runs, or half of
  // them.
  SeededRandom plans(SeededRandom(random).next() ^ kPlansStream);
  script.plans = plans.one_in(2);
  if (plans.one_in(2)) script.answers_held_bytes_max = 0;
  script.plans_seed = plans.next();
  script.faults =
      random.one_in(8) ? io::SimulatedFaults::none() : io::SimulatedFaults::drawn(random);
  script.roomy = random.one_in(2);
  for (std::uint64_t left = random.between(1, 3); left > 0; --left) {
    script.clients.push_back(draw_client(random, [&] { return draw_ask(random, script).number; }));
  }
  if (random.one_in(5)) script.drain_after = random.duration_up_to(10s);
  if (random.one_in(5)) script.policy_after = random.duration_up_to(10s);
  script.pool_delay_max = random.duration_up_to(300ms);
  script.token_delay_max = random.duration_up_to(1s);
  script.worker.delay_max = random.duration_up_to(500ms);
  script.by_generation = random.one_in(3);
  script.clock_behind = random.one_in(2);
  if (script.roomy) return script;
  if (random.one_in(6)) script.launcher_dies_after = random.duration_up_to(10s);
  script.launcher_absent = random.duration_up_to(2s);
  if (random.one_in(3)) script.requests_max = static_cast<std::uint32_t>(random.between(1, 6));
  script.slots = static_cast<int>(random.between(1, 3));
  script.slots_waiting_max = random.between(0, 4);
  script.slot_wait_max = random.one_in(2) ? 60s : random.duration_up_to(10s);
  if (random.one_in(4)) script.held_bytes_max = 100 + random.up_to(10'000);
  if (random.one_in(3)) script.pool_full_odds = random.between(3, 30);
  if (random.one_in(4)) script.token_unavailable_odds = random.between(2, 6);
  if (random.one_in(3)) script.worker.dies_odds = random.between(2, 6);
  if (random.one_in(5)) script.worker.babbles_odds = random.between(2, 6);
  if (random.one_in(5)) script.worker.silent_odds = random.between(2, 6);
  script.sync_fails = random.one_in(6);
  return script;
}

std::string describe(const Ask& ask) {
  constexpr const char* kKinds[] = {
      "advertise", "advertise for a push", "ls-refs", "fetch", "push", "probe", "refused"};
  constexpr const char* kFates[] = {"well",      "ends badly",    "dies",
                                    "cut short", "babbles",       "falls silent",
                                    "refuses",   "reads nothing", "lingers"};
  std::string text =
      "request " + std::to_string(ask.number) + " (" + kKinds[static_cast<std::size_t>(ask.kind)];
  if (ask.refusal != nullptr) {
    text += std::string(" ") + ask.refusal->method + " " + ask.refusal->path;
  }
  if (ask.kind == AskKind::fetch || ask.kind == AskKind::push) {
    text += std::string(", child ") + kFates[static_cast<std::size_t>(ask.child.fate)];
    if (ask.child.cannot_start) text += ", cannot start";
    if (!ask.sideband) text += ", no sideband";
    if (!ask.report) text += ", no report";
    if (ask.want != Want::advertised) text += ", not advertised";
    if (ask.cut_body) text += ", body cut";
    if (ask.moved_at != 0) text += ", ref moved";
  }
  text += ", v" + std::to_string(ask.version) + ", reading style " +
          std::to_string(static_cast<int>(ask.style)) + (ask.gzip ? ", gzip" : "") +
          (ask.chunked ? ", chunked" : "") + (ask.expect ? ", expect" : "") + ", handled " +
          std::to_string(ask.handled) + ", children " + std::to_string(ask.children);
  return text + (ask.client_ended ? ", client ended)" : ")");
}

std::string body_of(const Ask& ask, const SimRepositories& repositories) {
  std::string body;
  switch (ask.kind) {
    case AskKind::advertise:
    case AskKind::advertise_push:
      break;
    case AskKind::ls_refs:
      git::append_pkt(body, "command=ls-refs");
      git::append_delim(body);
      git::append_pkt(body, "peel");
      git::append_pkt(body, "symrefs");
      git::append_flush(body);
      break;
    case AskKind::fetch:
      return fetch_body(ask, repositories);
    case AskKind::push:
      return push_body(ask, repositories);
    case AskKind::probe:
      git::append_flush(body);
      break;
    case AskKind::refused:
      if (std::string_view(ask.refusal->method) == "POST") body.assign(ask.pack_bytes % 5000, 'x');
      break;
  }
  return body;
}

std::string answer_of(const Ask& ask) {
  std::string answer;
  if (ask.kind == AskKind::push) {
    std::string report;
    git::append_pkt(report, "unpack ok\n");
    git::append_pkt(report, ask.child.fate == ChildFate::refuses
                                ? "ng " + ask.ref() + " hook declined\n"
                                : "ok " + ask.ref() + "\n");
    git::append_flush(report);
    if (!ask.sideband) return ask.report ? report : "";
    git::append_sideband(answer, git::Band::progress, "what a hook says\n");
    git::append_sideband(answer, git::Band::data, report);
    git::append_flush(answer);
    return answer;
  }
  const auto pack = pattern(ask.number, 0, ask.pack_bytes);
  const std::string bytes = "PACK" + std::string(pack.begin(), pack.end());
  if (ask.version == 2) {
    git::append_pkt(answer, "packfile\n");
  } else {
    git::append_pkt(answer, "NAK\n");
    if (!ask.sideband) return answer + bytes;
  }
  git::append_sideband(answer, git::Band::progress, "counting\n");
  git::append_sideband(answer, git::Band::data, bytes);
  git::append_flush(answer);
  return answer;
}

// RFC 1952 and 1951: blocks that are stored as they are.
std::string gzip_stored(std::string_view bytes) {
  const auto little = [](std::string& out, std::uint64_t value, int count) {
    for (int i = 0; i < count; ++i) out += static_cast<char>(value >> (8 * i));
  };
  std::uint32_t crc = ~0U;
  for (const char c : bytes) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320U : 0U);
  }
  std::string out("\x1f\x8b\x08\0\0\0\0\0\0\xff", 10);
  const std::size_t bytes_all = bytes.size();
  do {
    const std::string_view block = bytes.substr(0, 0xffff);
    bytes.remove_prefix(block.size());
    out += bytes.empty() ? '\1' : '\0';
    little(out, block.size(), 2);
    little(out, ~block.size(), 2);
    out += block;
  } while (!bytes.empty());
  little(out, ~crc, 4);
  little(out, bytes_all, 4);
  return out;
}

}  // namespace weir::sim

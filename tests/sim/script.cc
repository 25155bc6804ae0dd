#include "tests/sim/script.h"

#include <algorithm>

namespace weir::sim {
namespace {

using io::SeededRandom;

constexpr std::size_t kPatternStep = 131;
constexpr std::size_t kPatternSlack = kPatternStep * 1024;

Request& draw_request(SeededRandom& random, Script& script) {
  Request& request = script.requests.emplace_back();
  request.number = script.requests.size() - 1;
  request.kind = static_cast<RequestKind>(random.between(0, kRequestKinds - 1));
  // A narrow network takes its time, and ours, for bytes.
  const std::size_t bytes_max = std::min<std::size_t>(300'000, script.faults.pipe_bytes_max * 24);
  request.answer_bytes =
      request.kind == RequestKind::small ? random.up_to(3000) : 1 + random.up_to(bytes_max);
  const bool reads = request.kind == RequestKind::upload || request.kind == RequestKind::echo;
  if (reads || request.kind == RequestKind::early || random.one_in(8)) {
    request.upload_bytes = random.up_to(bytes_max);
  }
  if (request.kind == RequestKind::hold || request.kind == RequestKind::slow) {
    // Of more, which they do not read, TCP would hide that the client has left, and the client
    // would give up.
    request.upload_bytes = std::min<std::size_t>(request.upload_bytes, 200'000);
  }
  if (request.kind == RequestKind::echo) request.answer_bytes = request.upload_bytes;
  if (request.kind == RequestKind::early) request.answer_bytes = 2;
  request.piece_bytes = std::max<std::size_t>(request.answer_bytes / 24, 1 + random.up_to(65536));
  request.sized = random.one_in(2) || request.kind == RequestKind::lying;
  request.chunked = random.one_in(2);
  request.expect = request.upload_bytes > 0 && random.one_in(6);
  request.pause = random.duration_up_to(5s);
  request.style = static_cast<ReadingStyle>(random.between(0, 3));
  request.patience = random.duration_up_to(2s);
  return request;
}

}  // namespace

Script draw_script(SeededRandom& random) {
  Script script;
  script.faults =
      random.one_in(8) ? io::SimulatedFaults::none() : io::SimulatedFaults::drawn(random);
  for (std::uint64_t left = random.between(1, 4); left > 0; --left) {
    script.clients.push_back(
        draw_client(random, [&] { return draw_request(random, script).number; }));
  }
  for (std::uint64_t left = random.one_in(2) ? random.between(1, 2) : 0; left > 0; --left) {
    StrayScript& stray = script.strays.emplace_back();
    stray.kind = static_cast<StrayKind>(random.between(0, 4));
    stray.tls_port = random.one_in(3);
    stray.start = random.duration_up_to(1s);
    stray.leaves_after = random.one_in(2) ? random.duration_up_to(2s) : random.duration_up_to(150s);
    stray.request = &draw_request(random, script);
    stray.request->kind = stray.kind == StrayKind::deaf ? RequestKind::bulk : RequestKind::small;
    stray.request->upload_bytes = 0;
  }
  if (random.one_in(4)) script.drain_after = random.duration_up_to(3s);
  return script;
}

const char* to_string(RequestKind kind) {
  constexpr const char* kNames[] = {"small", "bulk", "file",  "slow",  "upload", "echo",
                                    "early", "hold", "abort", "lying", "drop"};
  return kNames[static_cast<std::size_t>(kind)];
}

std::string describe(const Request& request) {
  return "request " + std::to_string(request.number) + " (" + to_string(request.kind) + ", " +
         std::to_string(request.upload_bytes) + " up, " + std::to_string(request.answer_bytes) +
         " down, reading style " + std::to_string(static_cast<int>(request.style)) +
         (request.chunked ? ", chunked" : "") + (request.expect ? ", expect" : "") +
         (request.sized ? ", sized" : "") + ", handled " + std::to_string(request.handled) +
         (request.released ? ", released" : "") + (request.saw_stop ? ", saw stop" : "") +
         (request.client_ended ? ", client ended)" : ")");
}

std::span<const std::uint8_t> pattern(std::size_t number, std::size_t offset, std::size_t bytes) {
  static const std::vector<std::uint8_t> all = [] {
    std::vector<std::uint8_t> made(kPatternBytesMax + kPatternSlack);
    SeededRandom random(1);
    for (std::uint8_t& byte : made) byte = static_cast<std::uint8_t>(random.next());
    return made;
  }();
  WEIR_CHECK(offset + bytes <= kPatternBytesMax);
  return std::span(all).subspan(number % 1024 * kPatternStep + offset, bytes);
}

}  // namespace weir::sim

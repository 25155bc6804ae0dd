#include "tests/sim/git_children.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <map>

#include "git/pkt_line.h"
#include "io/byte_channel.h"
#include "io/fd_ops.h"

namespace weir::sim {
namespace {

constexpr std::string_view kTraceVariable = "GIT_TRACE2_PARENT_SID=";

io::ExitStatus exits(int code) {
  return {.code = code, .cpu_us = 1000, .rss_bytes_max = 1 << 20};
}
io::ExitStatus dies(int signal) {
  return {.code = 128 + signal, .signalled = true};
}

// Where a script's turn comes in `answer`: inside a packet, or between two (`between`).
std::size_t turn_in(std::string_view answer, std::uint64_t per_mille, bool between) {
  const std::size_t wanted = answer.size() * per_mille / 1000;
  std::size_t at = 0;
  git::Pkt pkt;
  while (git::read_pkt(answer.substr(at), pkt) == git::PktStatus::complete) {
    if (at + pkt.bytes > wanted) break;
    at += pkt.bytes;
  }
  if (between || wanted > at) return between ? at : wanted;
  return at < answer.size() ? at + 1 : answer.size() - 1;
}

}  // namespace

std::string trace_id(std::size_t number) {
  std::string digits = std::to_string(number + 1);  // 0 names nothing
  return std::string(32 - digits.size(), '0') + digits;
}

Ask* find_traced(PipelineScript& script, std::string_view traced_text) {
  const std::size_t dash = traced_text.find('-');
  if (dash == traced_text.npos || traced_text.size() < dash + 33) return nullptr;
  const std::string_view digits = traced_text.substr(dash + 1, 32);
  std::size_t number = 0;
  const auto read = std::from_chars(digits.begin(), digits.end(), number);
  const bool ours = read.ptr == digits.end() && number >= 1 && number <= script.asks.size();
  return ours ? &script.asks[number - 1] : nullptr;
}

Ask* GitChildren::asked_by(const io::SubprocessSpec& spec) {
  for (const std::string& variable : spec.env) {
    if (variable.starts_with(kTraceVariable)) {
      return find_traced(script_, std::string_view(variable).substr(kTraceVariable.size()));
    }
  }
  return nullptr;
}

io::ChildPrograms::Start GitChildren::start_of(const io::SubprocessSpec& spec) {
  if (spec.channel) {
    return {.delay = random_.duration_up_to(script_.worker.delay_max),
            .dies_in = random_.duration_up_to(100ms)};
  }
  const Ask* ask = asked_by(spec);
  if (ask == nullptr) {
    violations_.push_back("a child that nobody asked for");
    return {.sys_errno = ENOENT};
  }
  const bool late = !script_.roomy || ask->child.starts_in < 9s;
  return {.sys_errno = ask->child.cannot_start ? EAGAIN : 0,
          .delay = late ? ask->child.starts_in : 9s,
          .dies_in = ask->child.dies_in};
}

io::Task<io::ExitStatus> GitChildren::run(Child& child) {
  if (child.spec.channel) return serve_worker(child);
  return serve_git(child, *asked_by(child.spec));
}

// --- git upload-pack, git receive-pack

io::Task<io::ExitStatus> GitChildren::serve_git(Child& child, Ask& ask) {
  const bool receives = child.spec.argv.at(1) == "receive-pack";
  if (receives != (ask.kind == AskKind::push))
    violations_.push_back("wrong child: " + describe(ask));
  ++ask.children;
  io::TaskScope talk;
  talk.spawn(chatter(child.stderr_fd, ask.child.chatter_bytes, child.killed()));
  io::ExitStatus status = exits(ask.child.exit_code);
  if (ask.child.fate == ChildFate::reads_nothing) {
    close(child.stdin_fd);
  } else {
    const bool whole = co_await read_input(child, ask);
    (void)co_await io::sleep_until(io::Deadline::after(loop_.now(), ask.child.thinks),
                                   child.killed());
    if (whole && !child.killed().stopped()) status = co_await answer(child, ask);
  }
  co_await talk.join();
  co_return status;
}

io::Task<void> GitChildren::chatter(int fd, std::size_t bytes, io::StopToken killed) {
  std::string text(bytes, 'm');
  for (std::size_t i = 60; i < text.size(); i += 61) text[i] = '\n';
  (void)co_await write(fd, text, 200, killed);
}

// True when all has come. A server that kills the child may stop before.
io::Task<bool> GitChildren::read_input(Child& child, const Ask& ask) {
  std::vector<std::uint8_t> space(ask.child.piece_bytes_max);
  std::size_t got = 0;
  for (;;) {
    const auto bytes = co_await io::read_some(child.stdin_fd, space, child.killed());
    if (!bytes) co_return false;
    if (*bytes == 0) break;
    const std::string_view piece = io::as_text(std::span(space).first(*bytes));
    if (ask.body.compare(std::min(got, ask.body.size()), piece.size(), piece) != 0) {
      violations_.push_back("wrong bytes at " + std::to_string(got) + " for the child of " +
                            describe(ask));
    }
    got += *bytes;
  }
  if (got == ask.body.size()) co_return true;
  if (!child.killed().stopped()) {
    violations_.push_back("an end after " + std::to_string(got) + " bytes for the child of " +
                          describe(ask));
  }
  co_return false;
}

void GitChildren::move_ref(Ask& ask) {
  repositories_.move_ref(ask.ref(), repositories_.pushed());
  ask.moved_at = next_event();
}

io::Task<io::ExitStatus> GitChildren::answer(Child& child, Ask& ask) {
  const ChildScript& script = ask.child;
  const io::StopToken killed = child.killed();
  const bool push = ask.kind == AskKind::push;
  ChildFate fate = script.fate;
  std::string text = answer_of(ask);
  const bool packets = push ? ask.report : ask.sideband || ask.version == 2;
  if (!packets && (fate == ChildFate::cut_short || fate == ChildFate::babbles)) {
    fate = ChildFate::dies;  // without packets nobody could tell
  }
  if (push) {
    const bool says_ok = fate != ChildFate::refuses;
    if (says_ok && (fate == ChildFate::well || fate == ChildFate::ends_badly ||
                    fate == ChildFate::lingers || script.moves_first)) {
      move_ref(ask);
    } else if (says_ok) {
      if (script.leaves_lock) repositories_.leave_lock(ask.ref());
      text = text.substr(0, text.size() / 2);  // of a report that is true
    }
  } else if (fate == ChildFate::refuses) {
    text.clear();
    git::append_pkt(text, "ERR upload-pack: this is not to be had");
  }
  const bool partial = fate == ChildFate::dies || fate == ChildFate::cut_short ||
                       fate == ChildFate::babbles || fate == ChildFate::falls_silent;
  std::size_t turn =
      text.empty() ? 0 : turn_in(text, script.turn_per_mille, fate == ChildFate::babbles);
  if (!co_await write(child.stdout_fd, std::string_view(text).substr(0, turn),
                      script.piece_bytes_max, killed)) {
    co_return exits(141);
  }
  (void)co_await io::sleep_until(io::Deadline::after(loop_.now(), script.stalls), killed);
  if (partial) {
    switch (fate) {
      case ChildFate::cut_short:
        co_return exits(0);
      case ChildFate::babbles:
        (void)co_await write(child.stdout_fd, "what is this? no packet", 5, killed);
        break;
      case ChildFate::falls_silent:
        (void)co_await io::sleep_until(io::Deadline::never(), killed);
        break;
      default:
        break;
    }
    co_return dies(11);
  }
  if (!co_await write(child.stdout_fd, std::string_view(text).substr(turn), script.piece_bytes_max,
                      killed)) {
    co_return exits(141);
  }
  ask.reported = true;
  if (fate == ChildFate::lingers) {
    close(child.stdout_fd);
    (void)co_await io::sleep_until(io::Deadline::never(), killed);
  }
  if (fate == ChildFate::ends_badly) co_return exits(script.exit_code);
  co_return exits(fate == ChildFate::refuses && !push ? 128 : 0);
}

io::Task<bool> GitChildren::write(int fd, std::string_view bytes, std::size_t piece_bytes_max,
                                  io::StopToken killed) {
  while (!bytes.empty()) {
    const std::string_view piece =
        bytes.substr(0, 1 + random_.up_to(std::min(bytes.size(), piece_bytes_max) - 1));
    const auto written = co_await io::write_some(fd, io::as_bytes(piece), killed);
    if (!written) co_return false;
    bytes.remove_prefix(*written);
  }
  co_return true;
}

void GitChildren::close(int& fd) {
  backend_.discard(fd);
  fd = -1;
}

// --- weir git-worker

io::Task<bool> GitChildren::read_frame(Child& child, std::string& body) {
  body.assign(git::kFrameHeaderBytes, '\0');
  bool head = true;
  for (std::size_t got = 0; got < body.size() || head;) {
    if (got == body.size()) {
      const auto bytes = git::frame_body_bytes(body);
      if (!bytes) co_return false;
      body.assign(*bytes, '\0');
      head = false;
      got = 0;
      continue;
    }
    const std::span<std::uint8_t> into(reinterpret_cast<std::uint8_t*>(body.data()) + got,
                                       body.size() - got);
    const auto bytes = co_await io::read_some(child.channel_fd, into, child.killed());
    if (!bytes || *bytes == 0) co_return false;
    got += *bytes;
  }
  co_return true;
}

io::Task<io::ExitStatus> GitChildren::serve_worker(Child& child) {
  const WorkerFaults& faults = script_.worker;
  std::map<std::string, std::vector<git::ObjectId>> tip_sets;  // as long as it lives
  std::string body;
  while (co_await read_frame(child, body)) {
    git::WorkerRequest request;
    if (!git::decode(body, request)) {
      violations_.push_back("a request that a worker does not understand");
      co_return exits(1);
    }
    git::WorkerReply reply;
    if (request.operation == git::WorkerOperation::check_wants && !request.has_tips &&
        !tip_sets.contains(request.tips_digest)) {
      reply.status = git::WorkerStatus::need_tips;
    } else {
      if (request.has_tips) tip_sets[request.tips_digest] = request.tips;
      if (request.operation == git::WorkerOperation::check_wants) {
        request.tips = tip_sets[request.tips_digest];
        request.has_tips = true;
      }
      reply = repositories_.ask_worker(request);
    }
    (void)co_await io::sleep_until(
        io::Deadline::after(loop_.now(), random_.duration_up_to(faults.delay_max)), child.killed());
    std::string frame = git::encode_frame(reply);
    if (random_.one_in(faults.silent_odds)) {
      (void)co_await io::sleep_until(io::Deadline::never(), child.killed());
    } else if (random_.one_in(faults.babbles_odds)) {
      for (std::size_t i = git::kFrameHeaderBytes; i < frame.size(); ++i) {
        frame[i] = static_cast<char>(random_.next());
      }
    } else if (random_.one_in(faults.dies_odds)) {
      const std::size_t bytes = random_.up_to(frame.size());
      (void)co_await write(child.channel_fd, frame.substr(0, bytes), frame.size(), child.killed());
      co_return dies(11);
    }
    if (!co_await write(child.channel_fd, frame, frame.size(), child.killed())) co_return exits(1);
  }
  co_return exits(0);
}

}  // namespace weir::sim

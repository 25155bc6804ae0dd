#pragma once
// GitChildren: the children of a simulated server: git upload-pack and git receive-pack as their
// scripts say, and git workers, which give the real worker's answers late, broken or not at all. A
// receive-pack moves its ref on the real disk. They check what they are given: a child that has
// read to the end of its input has read the client's body, byte for byte. Owned by the run.

#include "git/worker_protocol.h"
#include "tests/sim/pipeline_script.h"
#include "tests/sim/simulated_spawner.h"

namespace weir::sim {

// The 32 digits that name request `number` in its traceparent: how a child and a log record are
// known to belong to it.
std::string trace_id(std::size_t number);
// nullptr if it is none of ours.
Ask* find_traced(PipelineScript& script, std::string_view traced_text);

class GitChildren final : public io::ChildPrograms {
 public:
  GitChildren(io::EventLoop& loop, io::SimulatedBackend& backend, io::SeededRandom random,
              PipelineScript& script, SimRepositories& repositories,
              std::vector<std::string>& violations)
      : loop_(loop),
        backend_(backend),
        random_(random),
        script_(script),
        repositories_(repositories),
        violations_(violations) {}

  // Numbers what happens: refs that move, syncs that begin.
  std::uint64_t next_event() { return ++events_; }

 private:
  using Child = io::ChildProcess;

  Start start_of(const io::SubprocessSpec& spec) override;
  io::Task<io::ExitStatus> run(Child& child) override;

  io::Task<io::ExitStatus> serve_git(Child& child, Ask& ask);
  io::Task<bool> read_input(Child& child, const Ask& ask);
  io::Task<io::ExitStatus> answer(Child& child, Ask& ask);
  void move_ref(Ask& ask);
  io::Task<void> chatter(int fd, std::size_t bytes, io::StopToken killed);
  io::Task<bool> write(int fd, std::string_view bytes, std::size_t piece_bytes_max,
                       io::StopToken killed);
  void close(int& fd);

  io::Task<io::ExitStatus> serve_worker(Child& child);
  io::Task<bool> read_frame(Child& child, std::string& body);

  Ask* asked_by(const io::SubprocessSpec& spec);

  io::EventLoop& loop_;
  io::SimulatedBackend& backend_;
  io::SeededRandom random_;
  PipelineScript& script_;
  SimRepositories& repositories_;
  std::vector<std::string>& violations_;
  std::uint64_t events_ = 0;
};

}  // namespace weir::sim

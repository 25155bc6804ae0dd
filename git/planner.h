#pragma once
// Planner: one `weir git-planner` child of a pool, made when it is first needed and replaced when
// it dies, breaks the protocol, overruns or grows. Remembers which views and tips the child was
// sent and sends what is missing. One question at a time: whoever asks holds `turn`. Loop thread
// only; the pool outlives its planners and their questions.

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "git/planner_channel.h"
#include "git/planner_pool.h"
#include "git/planner_protocol.h"
#include "git/repository_files.h"
#include "io/async_semaphore.h"
#include "io/blocking_pool.h"
#include "io/clock.h"
#include "io/error.h"
#include "io/stop_token.h"
#include "io/subprocess.h"
#include "io/task.h"

namespace weir::git {

// Somebody who left does not cost a warm planner if the answer comes this soon.
inline constexpr io::Duration kAbandonedPlanTimeMax = std::chrono::seconds(1);

// What is asked. The tips are made from the snapshot when the planner turns out not to have them.
struct PlannerQuestion {
  std::shared_ptr<const RepositoryFiles> files;
  ObjectFormat format = ObjectFormat::sha1;
  std::shared_ptr<const RefSnapshot> snapshot;
  std::string tips_digest;
  std::optional<PlannerPacket> tips;  // if they have just been made
  const PlanRequest& request;         // of the asker: it may be megabytes
  std::uint32_t time_ms_max = 0;
  std::uint64_t id = 0;  // the planner's owner's business
};

// The packet of a snapshot's tips, and their digest.
struct TipsPacket {
  std::string digest;
  PlannerPacket packet;
};
// Here if that is a small matter, else on the pool.
io::Task<io::Result<TipsPacket>> make_tips_packet(io::BlockingPool& blocking,
                                                  std::shared_ptr<const RefSnapshot> snapshot);

class Planner {
 public:
  Planner(io::EventLoop& loop, io::Spawner& launcher, io::BlockingPool& blocking,
          const PlannerPoolOptions& options);

  io::AsyncSemaphore turn;
  // By the holder of `turn`. Errors: cancelled and deadline_exceeded (`end` passed; the child is
  // gone); limit (no thread was free); all else is the child's: it is gone, too.
  io::Task<io::Result<PlannerReply>> ask(PlannerQuestion& question, io::StopToken stop,
                                         io::Deadline end);
  // No new plans will be asked of this view. Any time.
  void forget(std::uint64_t view);
  // Sends what forget() noted. By the holder of `turn`.
  void flush_forgotten();
  // Ends the child and waits for it. By the holder of `turn`.
  io::Task<void> end();
  void kill();

 private:
  io::Task<io::Result<void>> start(io::Deadline end);
  io::Task<io::Result<PlannerReply>> exchange(PlannerQuestion& question, io::StopToken stop,
                                              io::Deadline end);
  io::Task<io::Result<void>> send_view(const RepositoryFiles& files, ObjectFormat format,
                                       io::Deadline end);
  io::Task<io::Result<void>> send_tips(PlannerQuestion& question, io::Deadline end);
  io::Task<io::Result<void>> send_question(const PlannerQuestion& question, io::Deadline end);
  io::Task<io::Result<void>> send(PlannerPacket packet, io::Deadline end);
  io::Task<io::Result<PlannerReply>> receive(const PlannerQuestion& question, io::StopToken stop,
                                             io::Deadline end);
  io::Task<void> discard();

  io::EventLoop& loop_;
  io::Spawner& launcher_;
  io::BlockingPool& blocking_;
  const PlannerPoolOptions& options_;
  std::unique_ptr<io::Subprocess> child_;
  std::uint64_t plans_ = 0;
  std::uint64_t last_question_ = 0;
  std::vector<std::uint8_t> buffer_;
  // What the child most likely has, most recently used first.
  std::deque<std::uint64_t> views_;
  std::deque<std::string> tips_;
  std::vector<std::uint64_t> forgotten_;
};

}  // namespace weir::git

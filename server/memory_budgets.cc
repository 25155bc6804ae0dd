#include "server/memory_budgets.h"

#include <fmt/core.h>

#include "git/open_repositories.h"
#include "git/recipe_answer.h"
#include "git/recipe_cache.h"
#include "http/exchange.h"
#include "http/http2_flow_control.h"
#include "io/backend.h"
#include "io/buffer_recycler.h"
#include "io/log.h"
#include "io/metrics.h"
#include "io/stream.h"
#include "server/session_records.h"

namespace weir::server {
namespace {

constexpr std::uint64_t kHandshakeBytes = 60 * 1024;   // measured; see kHandshakesInFlightMax
constexpr std::uint64_t kConnectionBytes = 24 * 1024;  // an idle TLS engine, its session and stream
constexpr std::uint64_t kRequestBytes = 16 * 1024;     // coroutine frames, head, log record

std::string size_text(std::uint64_t bytes) {
  constexpr std::uint64_t kMiB = 1024UL * 1024;
  if (bytes >= 10 * 1024 * kMiB) return fmt::format("{} GiB", bytes / (1024 * kMiB));
  return fmt::format("{} MiB", (bytes + kMiB - 1) / kMiB);
}

}  // namespace

std::vector<MemoryBudget> memory_budgets(const Config& config, std::uint64_t loops) {
  const std::uint64_t connections = config.limits.connections_max;
  const std::uint64_t requests = config.limits.requests_in_flight_max;
  const std::uint64_t planning_loops = config.git.planners > 0 ? loops : 0;
  return {
      {"receive_rings", (loops * io::kRecvBuffers + kAdminRecvBuffers) * io::kRecvBufferBytes},
      {"output_buffers_kept", loops * io::kOutputBuffersKept * io::kOutputBufferBytes},
      {"handshakes", loops * io::kHandshakesInFlightMax * kHandshakeBytes},
      {"connections", connections * kConnectionBytes},
      // One that fills and one that is being sent.
      {"heads", connections * http::kHeadLimitsDefault.head_bytes_max},
      {"output_of_connections", connections * 2 * io::kOutputBufferBytes},
      {"requests", requests * kRequestBytes},
      {"body_queues", requests * http::kBodyQueueBytesMax},
      {"upload_windows", static_cast<std::uint64_t>(http::kUploadWindowBudgetBytes)},
      {"answers", git::kRecipeAnswersBytesMax + requests * git::kLeanRecipeAnswerBytesMax},
      {"requests_held", config.limits.requests_held_bytes_max},
      {"ref_snapshots", kRefLiveBytesMax},
      {"loose_objects", planning_loops * git::kOpenLooseBytesMax},
      {"recipes_kept", planning_loops * git::kRecipeCacheBytesMax},
      {"log", 2 * io::kLogBufferBytesMax},  // filling and being written
      {"metrics", io::Metrics::segment_bytes()},
  };
}

std::string describe_memory_budgets(const std::vector<MemoryBudget>& budgets) {
  std::uint64_t sum = 0;
  std::string parts;
  for (const MemoryBudget& budget : budgets) {
    sum += budget.bytes_max;
    parts += parts.empty() ? "" : ", ";
    parts += fmt::format("{} {}", budget.name, size_text(budget.bytes_max));
  }
  return fmt::format("memory at most {} in this process: {}", size_text(sum), parts);
}

}  // namespace weir::server

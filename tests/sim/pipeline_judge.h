#pragma once
// The judge of a simulated run of the pipeline: what a client may be told, given what it asked,
// what became of its child and which faults the run has. Pure.

#include "http/client_connection.h"
#include "tests/sim/pipeline_script.h"

namespace weir::sim {

// What was true when a request was sent, or came true meanwhile.
struct Facts {
  SimRepositories::Refs acknowledged;  // pushes a client was told of before it asked
  SimRepositories::Refs moved;         // refs that were moved until now
  std::uint64_t synced_at = 0;         // the number of the latest event that made all before last
};

struct Judgement {
  std::string violation;      // "" if the answer may be
  bool served = false;        // what was asked for
  bool acknowledged = false;  // a push that was told "ok"
  bool planned = false;       // a fetch that took no child
};

Judgement judge_answer(const PipelineScript& script, const Ask& ask,
                       const SimRepositories& repositories, const Facts& facts,
                       const http::ClientResponse& answer);
// Whether a request may end with `error` instead of an answer.
bool may_fail(const PipelineScript& script, const Ask& ask, const Connected& at, bool draining,
              const io::Error& error);

}  // namespace weir::sim

#pragma once
// FileThreads: a few threads that finish file reads and writes which would block, for the epoll
// Backend. Owned by it; run(), withdraw() and collect() on the loop thread. Threads are made with
// the first op (a machine without room for one fails the op with EAGAIN). Waiting ops are bounded
// by their owners. An op that a thread has begun cannot be ended early.

#include <pthread.h>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <vector>

#include "io/op.h"

namespace weir::io {

class FileThreads {
 public:
  struct Ended {
    Op* op;
    std::int32_t result;
  };

  // `on_ended` runs on a thread of the pool after an op has been put where collect() finds it.
  FileThreads(unsigned threads_max, std::function<void()> on_ended);
  ~FileThreads();  // no op may be left
  FileThreads(const FileThreads&) = delete;
  FileThreads& operator=(const FileThreads&) = delete;

  void run(Op& op);
  // False if it has begun: it will be collected.
  bool withdraw(Op& op);
  void collect(std::vector<Ended>& out);

 private:
  static void* thread_main(void* self);
  void serve();
  void start_thread();

  const unsigned threads_max_;
  const std::function<void()> on_ended_;
  std::vector<pthread_t> threads_;  // loop thread only
  std::mutex mutex_;
  std::condition_variable work_;
  std::deque<Op*> waiting_;
  std::vector<Ended> ended_;
  unsigned idle_ = 0;
  bool stopping_ = false;
};

}  // namespace weir::io

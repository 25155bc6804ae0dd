#include "io/file_threads.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "io/epoll_ops.h"

namespace weir::io {

FileThreads::FileThreads(unsigned threads_max, std::function<void()> on_ended)
    : threads_max_(threads_max), on_ended_(std::move(on_ended)) {}

FileThreads::~FileThreads() {
  {
    const std::scoped_lock lock(mutex_);
    WEIR_CHECK(waiting_.empty());
    stopping_ = true;
  }
  work_.notify_all();
  for (const pthread_t thread : threads_) ::pthread_join(thread, nullptr);
}

void FileThreads::run(Op& op) {
  {
    const std::scoped_lock lock(mutex_);
    if (waiting_.size() >= idle_ && threads_.size() < threads_max_) start_thread();
    (threads_.empty() ? ended_.push_back({&op, -EAGAIN}) : waiting_.push_back(&op));
  }
  threads_.empty() ? on_ended_() : work_.notify_one();
}

// With pthreads: std::thread throws where there is no room for one.
void FileThreads::start_thread() {
  pthread_t thread{};
  if (::pthread_create(&thread, nullptr, thread_main, this) == 0) threads_.push_back(thread);
}

void* FileThreads::thread_main(void* self) {
  static_cast<FileThreads*>(self)->serve();
  return nullptr;
}

void FileThreads::serve() {
  std::unique_lock lock(mutex_);
  for (;;) {
    ++idle_;
    work_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
    --idle_;
    if (waiting_.empty()) return;
    Op& op = *waiting_.front();
    waiting_.pop_front();
    lock.unlock();
    const std::int32_t result = finish_file_op(op);
    lock.lock();
    ended_.push_back({&op, result});
    lock.unlock();
    on_ended_();
    lock.lock();
  }
}

bool FileThreads::withdraw(Op& op) {
  const std::scoped_lock lock(mutex_);
  return std::erase(waiting_, &op) > 0;
}

void FileThreads::collect(std::vector<Ended>& out) {
  const std::scoped_lock lock(mutex_);
  out.swap(ended_);
}

}  // namespace weir::io

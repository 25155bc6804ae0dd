#pragma once
// Cooperative cancellation on one loop thread. A StopSource is owned by whoever may give up (a
// connection, a scope); StopTokens are handed to the work; leaf awaiters register a StopCallback
// and end with Errc::cancelled. The source outlives its tokens' users. Not thread-safe.

#include "io/intrusive_list.h"

namespace weir::io {

// Runs at most once, when the source stops; unregisters itself on destruction.
struct StopCallback : ListNode<StopCallback> {
  void (*on_stop)(StopCallback& self) = nullptr;
  ~StopCallback() { unlink(); }
};

class StopSource {
 public:
  bool stopped() const { return stopped_; }
  void request_stop() {
    if (stopped_) return;
    stopped_ = true;
    while (!callbacks_.empty()) {
      StopCallback& callback = callbacks_.pop_front();
      callback.on_stop(callback);
    }
  }

 private:
  friend class StopToken;
  bool stopped_ = false;
  IntrusiveList<StopCallback> callbacks_;
};

class StopToken {
 public:
  StopToken() = default;  // never stops
  explicit StopToken(StopSource& source) : source_(&source) {}

  bool stopped() const { return source_ != nullptr && source_->stopped_; }
  // If already stopped the callback is not registered: test stopped() first.
  void subscribe(StopCallback& callback) const {
    if (source_ != nullptr && !source_->stopped_) source_->callbacks_.push_back(callback);
  }

 private:
  StopSource* source_ = nullptr;
};

// A source that also stops when its parent does.
class LinkedStopSource : private StopCallback {
 public:
  explicit LinkedStopSource(StopToken parent) {
    on_stop = [](StopCallback& self) {
      static_cast<LinkedStopSource&>(self).source_.request_stop();
    };
    if (parent.stopped()) {
      source_.request_stop();
    } else {
      parent.subscribe(*this);
    }
  }
  StopToken token() { return StopToken(source_); }
  void request_stop() { source_.request_stop(); }
  bool stopped() const { return source_.stopped(); }

 private:
  StopSource source_;
};

}  // namespace weir::io

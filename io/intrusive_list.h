#pragma once
// A doubly linked list whose links live in its elements: no allocation, O(1) removal.
// Elements derive from ListNode<Tag>; the list owns nothing. An element leaves its list before it
// is destroyed (checked). Single-threaded.

#include <cstddef>

#include "io/check.h"

namespace weir::io {

template <typename Tag>
class ListNode {
 public:
  ListNode() = default;
  ListNode(const ListNode&) = delete;
  ListNode& operator=(const ListNode&) = delete;
  ~ListNode() { WEIR_CHECK(!linked()); }

  bool linked() const { return next_ != nullptr; }
  void unlink() {
    if (!linked()) return;
    prev_->next_ = next_;
    next_->prev_ = prev_;
    next_ = prev_ = nullptr;
  }

 private:
  template <typename T, typename U>
  friend class IntrusiveList;
  ListNode* next_ = nullptr;
  ListNode* prev_ = nullptr;
};

template <typename T, typename Tag = T>
class IntrusiveList {
  using Node = ListNode<Tag>;

 public:
  IntrusiveList() { head_.next_ = head_.prev_ = &head_; }
  IntrusiveList(const IntrusiveList&) = delete;
  IntrusiveList& operator=(const IntrusiveList&) = delete;
  ~IntrusiveList() {
    WEIR_CHECK(empty());
    head_.next_ = head_.prev_ = nullptr;
  }

  bool empty() const { return head_.next_ == &head_; }
  T& front() { return static_cast<T&>(*head_.next_); }
  void push_back(T& element) { insert_before(head_, element); }
  void push_front(T& element) { insert_before(*head_.next_, element); }
  T& pop_front() {
    WEIR_CHECK(!empty());
    T& element = front();
    static_cast<Node&>(element).unlink();
    return element;
  }
  // The element after `element`, or nullptr at the end.
  T* next(T& element) {
    Node* node = static_cast<Node&>(element).next_;
    return node == &head_ ? nullptr : &static_cast<T&>(*node);
  }
  T* first() { return empty() ? nullptr : &front(); }
  // Moves all of `other` to the end of this list.
  void splice_back(IntrusiveList& other) {
    while (!other.empty()) push_back(other.pop_front());
  }

 private:
  static void insert_before(Node& position, Node& node) {
    WEIR_CHECK(!node.linked());
    node.prev_ = position.prev_;
    node.next_ = &position;
    position.prev_->next_ = &node;
    position.prev_ = &node;
  }

  mutable Node head_;
};

}  // namespace weir::io

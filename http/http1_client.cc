// Http1Client: one call at a time on one connection.

#include <array>
#include <charconv>

#include "http/client_session.h"
#include "http/http1_response_parser.h"

namespace weir::http {
namespace {

class Http1Client final : public ClientSession {
 public:
  explicit Http1Client(io::Stream& stream) : stream_(stream) {}

  Version version() const override { return Version::http11; }
  bool usable() const override { return call_ == nullptr && !ended_; }

  io::Result<void> start(std::shared_ptr<ClientCall> call) override {
    call_ = std::move(call);
    call_->session = this;
    const ClientRequest& request = call_->request;
    parser_.emplace(request.method == "HEAD");
    std::string& head = head_;
    head = request.method + " " + request.path + " HTTP/1.1\r\nhost: " + request.authority + "\r\n";
    for (const auto& [name, value] : request.headers) head += name + ": " + value + "\r\n";
    chunked_ = request.chunked && !request.body.empty();
    if (chunked_) {
      head += "transfer-encoding: chunked\r\n";
    } else if (!request.body.empty() || request.method == "POST" || request.method == "PUT") {
      head += "content-length: " + std::to_string(request.body.size()) + "\r\n";
    }
    head += "\r\n";
    if (chunked_) head += chunk_line(request.body.size());
    stream_.want_write({});
    return {};
  }

  void consumed(ClientCall&, std::size_t) override { stream_.resume_reading(); }

  void cancel(ClientCall& call) override {
    call.session = nullptr;
    call_ = nullptr;
    ended_ = true;
    stream_.abort();
  }

  void on_data(std::span<const std::uint8_t> bytes) override {
    while (call_ != nullptr) {
      std::span<const std::uint8_t> data;
      switch (parser_->feed(bytes, data)) {
        case Http1ResponseParser::Status::need_more:
          return;
        case Http1ResponseParser::Status::head:
          call_->status = parser_->status();
          call_->fields = std::move(parser_->fields());
          call_->head_done = true;
          call_->changed.notify();
          break;
        case Http1ResponseParser::Status::data:
          call_->deliver(data);
          if (call_->queue.size() >= kClientQueueBytesMax) stream_.pause_reading();
          break;
        case Http1ResponseParser::Status::complete:
          complete();
          break;
        case Http1ResponseParser::Status::error:
          return fail(io::Errc::protocol, parser_->reason());
      }
    }
    if (!bytes.empty()) fail(io::Errc::protocol, "bytes after the response");
  }

  void on_end_of_data() override {
    if (call_ == nullptr) {
      ended_ = true;
    } else if (parser_->end_of_input() == Http1ResponseParser::Status::complete) {
      complete();
    } else {
      fail(io::Errc::closed, parser_->reason());
    }
  }

  void on_write_turn(std::size_t) override {
    if (call_ == nullptr) return;
    write_from(head_);
    if (!head_.empty()) return stream_.want_write({});
    const std::size_t taken = stream_.write(call_->body_left());
    call_->body_bytes_sent += taken;
    if (!call_->body_left().empty()) return stream_.want_write({});
    if (!chunked_) return;
    chunked_ = false;
    head_ = "\r\n0\r\n\r\n";
    stream_.want_write({});
  }

  void on_closed() override { fail(io::Errc::closed, "connection closed"); }

 private:
  // One chunk for the whole body.
  static std::string chunk_line(std::size_t bytes) {
    std::array<char, 20> text{};
    const auto [end, error] = std::to_chars(text.data(), text.data() + text.size(), bytes, 16);
    return std::string(text.data(), end) + "\r\n";
  }

  void write_from(std::string& text) {
    if (text.empty()) return;
    text.erase(0, stream_.write({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}));
  }

  void complete() {
    const bool sent = head_.empty() && call_->body_left().empty() && !chunked_;
    const bool reusable = parser_->reusable() && sent;
    call_->end();
    call_ = nullptr;
    if (reusable) return;
    ended_ = true;
    stream_.close_gracefully();
  }

  void fail(io::Errc code, const char* where) {
    const bool first = !ended_;
    ended_ = true;
    if (call_ != nullptr) {
      call_->fail(code, where);
      call_ = nullptr;
    }
    if (first && code == io::Errc::protocol) stream_.abort();
  }

  io::Stream& stream_;
  std::shared_ptr<ClientCall> call_;
  std::optional<Http1ResponseParser> parser_;
  std::string head_;  // request head, or what frames the body, still to be written
  bool chunked_ = false;
  bool ended_ = false;
};

}  // namespace

std::unique_ptr<ClientSession> make_http1_client(io::Stream& stream) {
  return std::make_unique<Http1Client>(stream);
}

}  // namespace weir::http

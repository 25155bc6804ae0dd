#include "git/planner_channel.h"

#include <utility>

#include "io/memory_file.h"

namespace weir::git {
namespace {

constexpr char kShort = 0, kLong = 1;

}  // namespace

io::Result<PlannerPacket> make_packet(std::string_view body, std::span<const int> descriptors) {
  PlannerPacket packet;
  packet.descriptors.assign(descriptors.begin(), descriptors.end());
  if (body.size() < kPlannerPacketBytesMax) {
    packet.bytes.reserve(body.size() + 1);
    packet.bytes = kShort;
    packet.bytes += body;
    return packet;
  }
  auto file = io::make_sealed_memory_file("weir-message", body);
  if (!file) return std::unexpected(file.error());
  packet.bytes = kLong;
  packet.body = std::move(*file);
  packet.descriptors.push_back(packet.body.get());
  return packet;
}

io::Result<void> send_packet(int socket, const PlannerPacket& packet) {
  const auto* const bytes = reinterpret_cast<const std::uint8_t*>(packet.bytes.data());
  return io::send_message(socket, {bytes, packet.bytes.size()}, packet.descriptors);
}

io::Result<ReceivedPacket> receive_packet(int socket, std::span<std::uint8_t> buffer,
                                          std::uint64_t bytes_max) {
  auto message = io::receive_message(socket, buffer);
  if (!message) return std::unexpected(message.error());
  if (message->bytes == 0) return io::fail(io::Errc::limit, "no message yet");
  ReceivedPacket packet;
  packet.descriptors = std::move(message->descriptors);
  if (message->descriptors_lost) return io::fail(io::Errc::protocol, "descriptors lost");
  const char kind = static_cast<char>(buffer[0]);
  if (kind == kShort) {
    packet.bytes.assign(buffer.begin() + 1,
                        buffer.begin() + static_cast<std::ptrdiff_t>(message->bytes));
    return packet;
  }
  if (kind != kLong || message->bytes != 1 || packet.descriptors.empty()) {
    return io::fail(io::Errc::protocol, "no packet of a planner");
  }
  packet.file = std::move(packet.descriptors.back());
  packet.descriptors.pop_back();
  const auto bytes = io::sealed_memory_bytes(packet.file.get());
  if (!bytes || *bytes > bytes_max) {
    return io::fail(io::Errc::protocol, "the body of a message is too long or not sealed");
  }
  return packet;
}

io::Result<std::string> ReceivedPacket::take_body(std::uint64_t bytes_max) {
  if (!file.valid()) return std::move(bytes);
  return io::read_sealed_memory_file(file.get(), bytes_max);
}

}  // namespace weir::git

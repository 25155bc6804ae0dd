#pragma once
// ReceiveCommandsParser: reads the front of a push (shallow lines, ref commands or a push
// certificate, push options) as it arrives and stops where the pack begins. Sans-IO; one push, one
// thread. Keeps the bytes it was fed (at most bytes_max + one feed), because git reads them too. An
// error's `where` is a text for the user. Format: gitprotocol-pack(5) "Reference Update Request and
// Packfile Transfer".

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "git/object_id.h"
#include "io/error.h"

namespace weir::git {

inline constexpr std::size_t kPushCommandsMax = 100'000;
inline constexpr std::size_t kPushShallowsMax = 100'000;
inline constexpr std::size_t kPushOptionsMax = 256;
inline constexpr std::size_t kPushOptionBytesMax = 4096;
inline constexpr std::size_t kPushRefBytesMax = 1024;  // beyond any path git could lock
// One that is nested deeper than refs are read would make its repository unreadable for all.
inline constexpr int kPushRefSlashesMax = 128;

struct PushCommand {
  ObjectId old_id;
  ObjectId new_id;
  std::string ref;
  bool ref_valid = false;  // may be asked for by a push; never use an invalid name as a path
  bool is_delete() const { return new_id.is_null(); }
};

struct ReceiveCommands {
  std::vector<PushCommand> commands;
  std::vector<std::string> options;
  std::size_t shallows = 0;
  std::string agent;
  bool report_status = false;
  bool report_status_v2 = false;
  bool sideband = false;
  bool atomic = false;
  bool push_options = false;
  bool certificate = false;

  bool expects_pack() const {
    for (const PushCommand& command : commands) {
      if (!command.is_delete()) return true;
    }
    return false;
  }
};

// What receive-pack accepts (check-ref-format(1) below "refs/", two levels unless it is deleted),
// and not too long or deep.
bool valid_push_ref(std::string_view name, bool is_delete);

class ReceiveCommandsParser {
 public:
  ReceiveCommandsParser(ObjectFormat format, std::size_t bytes_max)
      : format_(format), bytes_max_(bytes_max) {}

  // True: complete; what follows is the pack. Call no more after true or an error.
  io::Result<bool> feed(std::string_view bytes);

  // Also meaningful after an error, as far as it was read: the refusal needs the capabilities.
  const ReceiveCommands& commands() const { return commands_; }
  // All that was fed, and how much of it is before the pack.
  const std::string& bytes() const { return bytes_; }
  std::size_t commands_bytes() const { return parsed_; }

 private:
  enum class State : std::uint8_t {
    commands,
    certificate_head,
    certificate_commands,
    certificate_signature,
    options,
    complete
  };
  io::Result<void> take(std::string_view text);
  io::Result<void> take_command(std::string_view text);
  io::Result<void> take_flush();
  io::Result<void> take_capabilities(std::string_view list);
  io::Result<void> take_option(std::string_view text);

  const ObjectFormat format_;
  const std::size_t bytes_max_;
  State state_ = State::commands;
  bool capabilities_read_ = false;
  bool certificate_ended_ = false;
  std::string bytes_;
  std::size_t parsed_ = 0;
  ReceiveCommands commands_;
};

}  // namespace weir::git

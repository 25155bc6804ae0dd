#pragma once
// ConfigReader: a TOML document read key by key. Each reader names its key once, says what it
// accepts and writes the value only if it is good; problems are collected, never thrown. What no
// reader asked for is an unknown key. keys() lists everything that was asked for, present or not:
// the manual is checked against it. Startup and reload only; one thread. Format: TOML 1.0.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace weir::server {

struct ConfigKey {
  std::string name;      // "git.push_slots"
  std::string accepted;  // "0..4096"
  std::string fallback;  // the default, as TOML; "" for required keys of tables in lists
};

struct TextRule {
  std::string_view accepted;
  bool (*allowed)(std::string_view value);
  bool required = false;
};

class ConfigReader {
 public:
  ConfigReader(std::string path, const std::string& text);
  ~ConfigReader();

  // `value` holds the default before and the answer after. Keys are relative to the table in hand:
  // the document, or inside each() one table of the list.
  void boolean(std::string_view key, bool& value);
  void integer(std::string_view key, std::uint32_t& value, std::uint32_t min, std::uint32_t max);
  // An integer, or text such as "64 MiB" (KiB, MiB, GiB, TiB).
  void bytes(std::string_view key, std::uint64_t& value, std::uint64_t min, std::uint64_t max);
  void text(std::string_view key, std::string& value, const TextRule& rule);
  void choice(std::string_view key, std::string& value,
              const std::vector<std::string_view>& choices);
  void texts(std::string_view key, std::vector<std::string>& value, const TextRule& rule);
  // A list of tables: `read` runs for each with present = true, and once before with present =
  // false so that its keys are known; then every value keeps its default.
  void each(std::string_view key, const std::function<void(bool present)>& read);
  // A problem that the caller found with a key of the table in hand.
  void problem(std::string_view key, std::string_view what);

  // Call once, after all keys were asked for: every problem, in the order of lines; "" if none.
  std::string problems();
  const std::vector<ConfigKey>& keys() const { return keys_; }

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
  std::vector<ConfigKey> keys_;
};

// Every key of Weir's configuration, in the order of the manual (config.cc).
std::vector<ConfigKey> config_keys();

}  // namespace weir::server

#include "server/config_reader.h"

// The library's assertions fail on some wrong documents ("[=]") and become assumptions in a release
// build. Without either, its own checks behind them report an error, as they should.
#pragma push_macro("NDEBUG")
#undef NDEBUG
#define TOML_ASSERT(expression) static_cast<void>(0)
#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>
#pragma pop_macro("NDEBUG")

#include <algorithm>
#include <charconv>
#include <numeric>

#include "server/config_ascii.h"

namespace weir::server {
namespace {

constexpr std::size_t kShownCharsMax = 60;
constexpr std::size_t kListEntriesMax = 10'000;
constexpr std::string_view kUnits[] = {"KiB", "MiB", "GiB", "TiB"};

std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, kShownCharsMax)) {
    const bool control = static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
    if (c == '"' || c == '\\') out += '\\';
    out += control ? '?' : c;
  }
  return out + (text.size() > kShownCharsMax ? "..." : "");
}

std::string quoted(std::string_view text) {
  return '"' + printable(text) + '"';
}

// The value as the operator wrote it, or its type.
std::string shown(const toml::node& node) {
  if (const auto* text = node.as_string()) return quoted(text->get());
  if (const auto* number = node.as_integer()) return std::to_string(number->get());
  if (const auto* flag = node.as_boolean()) return flag->get() ? "true" : "false";
  if (node.is_table()) return "a table";
  if (node.is_array()) return "a list";
  return node.is_floating_point() ? "a fraction" : "a date or time";
}

std::string bytes_text(std::uint64_t value) {
  std::string unit = "B";
  for (const std::string_view larger : kUnits) {
    if (value == 0 || value % 1024 != 0) break;
    value /= 1024;
    unit = larger;
  }
  return std::to_string(value) + " " + unit;
}

bool parse_bytes(std::string_view text, std::uint64_t& value) {
  const char* last = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data(), last, value);
  if (error != std::errc{}) return false;
  std::string_view unit(end, static_cast<std::size_t>(last - end));
  if (unit.starts_with(' ')) unit.remove_prefix(1);
  int shift = 0;
  for (const std::string_view known : kUnits) {
    shift += 10;
    if (unit != known) continue;
    if (value > (UINT64_MAX >> shift)) return false;
    value <<= shift;
    return true;
  }
  return false;
}

std::string list_text(const std::vector<std::string>& values) {
  std::string out = "[";
  for (const std::string& value : values) out += (out.size() > 1 ? ", " : "") + quoted(value);
  return out + "]";
}

// Levenshtein; names are short.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  if (a.size() > 100 || b.size() > 100) return 100;
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t change = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({change, row[j] + 1, diagonal + 1});
    }
  }
  return row[b.size()];
}

std::string_view last_part(std::string_view name) {
  return name.substr(name.rfind('.') + 1);
}

bool is_leaf(const std::vector<ConfigKey>& keys, std::string_view name) {
  return std::ranges::any_of(keys, [&](const ConfigKey& key) { return key.name == name; });
}

bool is_table(const std::vector<ConfigKey>& keys, const std::string& name) {
  return std::ranges::any_of(
      keys, [&](const ConfigKey& key) { return key.name.starts_with(name + "."); });
}

// " (did you mean git.push_slots?)" or "": the nearest name in its own table (or one that it is the
// beginning of), the same word in another table, or the nearest table.
std::string suggestion(const std::vector<ConfigKey>& keys, const std::string& name) {
  const std::string_view word = last_part(name);
  const std::string_view table = std::string_view(name).substr(0, name.size() - word.size());
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(2, word.size() / 4) + 1;
  const auto consider = [&](std::string_view candidate, std::size_t distance) {
    if (distance >= best_distance) return;
    best = candidate;
    best_distance = distance;
  };
  for (const ConfigKey& key : keys) {
    const std::string_view known = last_part(key.name);
    const std::string_view known_table =
        std::string_view(key.name).substr(0, key.name.size() - known.size());
    if (known_table == table) {
      consider(key.name, edit_distance(word, known));
      if (word.size() >= 3 && known.starts_with(word)) consider(key.name, 1);
    } else if (known == word) {
      consider(key.name, 1);
    }
    if (!known_table.empty()) {
      const std::string_view outer = known_table.substr(0, known_table.size() - 1);
      consider(outer, edit_distance(name, outer));
    }
  }
  return best.empty() ? "" : " (did you mean " + best + "?)";
}

}  // namespace

struct ConfigReader::Impl {
  struct Problem {
    std::uint32_t line;
    std::string text;
    auto operator<=>(const Problem&) const = default;
  };
  std::string path;
  toml::table document;
  bool parsed = false;
  std::vector<Problem> found;
  const toml::table* table = nullptr;  // in hand; nullptr while each() only collects keys
  std::string prefix;                  // "access.rules." inside its list

  void add(const toml::node& node, const std::string& name, std::string_view what) {
    const auto line = node.source().begin.line;
    found.push_back(
        {line, path + ":" + std::to_string(line) + ": " + name + ": " + std::string(what)});
  }
  void refuse_document(std::uint32_t line, std::string_view what) {
    found.push_back(
        {line, path + ":" + std::to_string(line) + ": not valid TOML: " + std::string(what)});
  }
  void refuse(const toml::node& node, std::string_view key, std::string_view accepted) {
    add(node, prefix + std::string(key), std::string(accepted) + " expected, got " + shown(node));
  }
  const toml::node* find(std::string_view key) const {
    const toml::table* current = table;
    while (current != nullptr) {
      const std::size_t dot = key.find('.');
      const toml::node* node = current->get(key.substr(0, dot));
      if (dot == std::string_view::npos || node == nullptr) return node;
      current = node->as_table();
      key.remove_prefix(dot + 1);
    }
    return nullptr;
  }
  void find_unknown(const toml::table& in, const std::string& within,
                    const std::vector<ConfigKey>& keys) {
    for (const auto& [key, node] : in) {
      const std::string name = within + std::string(key.str());
      const bool holds_keys = is_table(keys, name);
      if (is_leaf(keys, name)) {
        const toml::array* list = holds_keys ? node.as_array() : nullptr;
        for (std::size_t i = 0; list != nullptr && i < list->size(); ++i) {
          const toml::table* item = (*list)[i].as_table();
          if (item != nullptr) find_unknown(*item, name + ".", keys);
        }
      } else if (!holds_keys) {
        add(node, printable(name), "unknown key" + suggestion(keys, name));
      } else if (const toml::table* inner = node.as_table()) {
        find_unknown(*inner, name + ".", keys);
      } else {
        add(node, name, "a table expected, got " + shown(node));
      }
    }
  }
};

ConfigReader::ConfigReader(std::string path, const std::string& text) : impl_(new Impl) {
  impl_->path = std::move(path);
  const auto ascii = config_in_ascii(text);
  if (!ascii) {
    impl_->refuse_document(ascii.error().line, ascii.error().what);
    return;
  }
  toml::parse_result result = toml::parse(std::string_view(*ascii));
  if (!result) {
    std::string what(result.error().description());
    std::ranges::replace(what, '\n', ' ');
    impl_->refuse_document(result.error().source().begin.line, what);
    return;
  }
  impl_->document = std::move(result).table();
  impl_->parsed = true;
  impl_->table = &impl_->document;
}

ConfigReader::~ConfigReader() = default;

void ConfigReader::boolean(std::string_view key, bool& value) {
  keys_.push_back({impl_->prefix + std::string(key), "true or false", value ? "true" : "false"});
  const toml::node* node = impl_->find(key);
  if (node == nullptr) return;
  if (const auto* flag = node->as_boolean()) {
    value = flag->get();
  } else {
    impl_->refuse(*node, key, "true or false");
  }
}

void ConfigReader::integer(std::string_view key, std::uint32_t& value, std::uint32_t min,
                           std::uint32_t max) {
  const std::string accepted = std::to_string(min) + ".." + std::to_string(max);
  keys_.push_back({impl_->prefix + std::string(key), accepted, std::to_string(value)});
  const toml::node* node = impl_->find(key);
  if (node == nullptr) return;
  const auto* number = node->as_integer();
  if (number != nullptr && number->get() >= min && number->get() <= max) {
    value = static_cast<std::uint32_t>(number->get());
  } else {
    impl_->refuse(*node, key, accepted);
  }
}

void ConfigReader::bytes(std::string_view key, std::uint64_t& value, std::uint64_t min,
                         std::uint64_t max) {
  const std::string accepted = bytes_text(min) + ".." + bytes_text(max);
  keys_.push_back({impl_->prefix + std::string(key), accepted, quoted(bytes_text(value))});
  const toml::node* node = impl_->find(key);
  if (node == nullptr) return;
  std::uint64_t given = 0;
  bool good = false;
  if (const auto* number = node->as_integer()) {
    good = number->get() >= 0;
    given = static_cast<std::uint64_t>(number->get());
  } else if (const auto* text = node->as_string()) {
    good = parse_bytes(text->get(), given);
  }
  if (good && given >= min && given <= max) {
    value = given;
  } else {
    impl_->refuse(*node, key, accepted);
  }
}

void ConfigReader::text(std::string_view key, std::string& value, const TextRule& rule) {
  keys_.push_back({impl_->prefix + std::string(key), std::string(rule.accepted),
                   rule.required ? "" : quoted(value)});
  const toml::node* node = impl_->find(key);
  if (node == nullptr) {
    if (rule.required) problem(key, std::string(rule.accepted) + " expected, got nothing");
    return;
  }
  const auto* given = node->as_string();
  if (given != nullptr && given->get().find('\0') == std::string::npos &&
      rule.allowed(given->get())) {
    value = given->get();
  } else {
    impl_->refuse(*node, key, rule.accepted);
  }
}

void ConfigReader::choice(std::string_view key, std::string& value,
                          const std::vector<std::string_view>& choices) {
  std::string accepted;
  for (const std::string_view one : choices) {
    accepted += (accepted.empty() ? "" : " or ") + quoted(one);
  }
  keys_.push_back({impl_->prefix + std::string(key), accepted, quoted(value)});
  const toml::node* node = impl_->find(key);
  if (node == nullptr) return;
  const auto* given = node->as_string();
  if (given != nullptr && std::ranges::find(choices, given->get()) != choices.end()) {
    value = given->get();
  } else {
    impl_->refuse(*node, key, accepted);
  }
}

void ConfigReader::texts(std::string_view key, std::vector<std::string>& value,
                         const TextRule& rule) {
  const std::string accepted = "list of: " + std::string(rule.accepted);
  keys_.push_back({impl_->prefix + std::string(key), accepted, list_text(value)});
  const toml::node* node = impl_->find(key);
  if (node == nullptr) return;
  const toml::array* list = node->as_array();
  if (list == nullptr || list->size() > kListEntriesMax) {
    impl_->refuse(*node, key, accepted);
    return;
  }
  std::vector<std::string> given;
  for (const toml::node& entry : *list) {
    const auto* one = entry.as_string();
    if (one != nullptr && one->get().find('\0') == std::string::npos && rule.allowed(one->get())) {
      given.push_back(one->get());
    } else {
      impl_->refuse(entry, key, rule.accepted);
    }
  }
  value = std::move(given);
}

void ConfigReader::each(std::string_view key, const std::function<void(bool present)>& read) {
  const std::string name = impl_->prefix + std::string(key);
  keys_.push_back({name, "list of tables", "[]"});
  const toml::node* node = impl_->find(key);
  const toml::table* outer = impl_->table;
  const std::string outer_prefix = impl_->prefix;
  const toml::array* list = node != nullptr ? node->as_array() : nullptr;
  if (node != nullptr && (list == nullptr || list->size() > kListEntriesMax)) {
    impl_->add(*node, name, "list of tables expected, got " + shown(*node));
    list = nullptr;
  }
  impl_->prefix = name + ".";
  impl_->table = nullptr;
  read(false);
  const std::size_t known = keys_.size();
  for (std::size_t i = 0; list != nullptr && i < list->size(); ++i) {
    impl_->table = (*list)[i].as_table();
    if (impl_->table == nullptr) {
      impl_->add((*list)[i], name, "a table expected, got " + shown((*list)[i]));
      continue;
    }
    read(true);
    keys_.resize(known);  // named by the first pass
  }
  impl_->table = outer;
  impl_->prefix = outer_prefix;
}

void ConfigReader::problem(std::string_view key, std::string_view what) {
  const toml::node* node = impl_->find(key);
  if (node == nullptr) node = impl_->table;
  if (node != nullptr) impl_->add(*node, impl_->prefix + std::string(key), what);
}

std::string ConfigReader::problems() {
  if (impl_->parsed) impl_->find_unknown(impl_->document, "", keys_);
  std::ranges::sort(impl_->found);
  std::string out;
  for (const Impl::Problem& one : impl_->found) out += (out.empty() ? "" : "\n") + one.text;
  return out;
}

}  // namespace weir::server

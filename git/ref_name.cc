#include "git/ref_name.h"

#include <array>
#include <cstdint>

namespace weir::git {
namespace {

enum Class : std::uint8_t { plain, slash, dot, brace, at, bad };

constexpr std::array<Class, 256> make_classes() {
  std::array<Class, 256> classes{};
  for (std::size_t c = 0; c < 0x20; ++c) classes[c] = bad;
  for (const char c : {' ', '~', '^', ':', '?', '*', '[', '\\', '\x7f'}) {
    classes[static_cast<unsigned char>(c)] = bad;
  }
  classes['/'] = slash;
  classes['.'] = dot;
  classes['{'] = brace;
  classes['@'] = at;
  return classes;
}
constexpr std::array<Class, 256> kClasses = make_classes();

}  // namespace

bool is_ref_name(std::string_view name) {
  if (name.size() > kRefNameBytesMax || !name.starts_with("refs/") || name.ends_with('.')) {
    return false;
  }
  Class last = slash;
  std::size_t component = 5;
  for (std::size_t i = 5; i <= name.size(); ++i) {
    const Class now = i < name.size() ? kClasses[static_cast<unsigned char>(name[i])] : slash;
    switch (now) {
      case bad:
        return false;
      case slash:
        if (last == slash) return false;
        if (name.substr(component, i - component).ends_with(".lock")) return false;
        component = i + 1;
        break;
      case dot:
        if (last == dot || last == slash) return false;
        break;
      case brace:
        if (last == at) return false;
        break;
      default:
        break;
    }
    last = now;
  }
  return true;
}

}  // namespace weir::git

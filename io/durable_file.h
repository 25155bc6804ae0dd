#pragma once
// Small files and folders that outlive a power cut: when these calls return without an error the
// disk has it. A file is replaced as a whole: whenever the power goes, the old or the new one is
// there. One writer of a path at a time; blocking. Shown by tests/e2e/powercut_test.py.

#include <string>
#include <string_view>

#include "io/error.h"

namespace weir::io {

// Through the draft `path`.tmp, which a failure removes. Mode 0600.
Result<void> write_durably(const std::string& path, std::string_view text);
// Mode 0700; one that is there is good.
Result<void> make_folder_durably(const std::string& path);
// Makes lasting which names are in it, not what they hold.
Result<void> sync_folder(const std::string& path);
// The folder that a path is in.
std::string folder_of(std::string_view path);

}  // namespace weir::io

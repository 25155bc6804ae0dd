#pragma once
// The file objects/info/alternates: other object folders that a repository borrows from,
// gitrepository-layout(5). Sans-IO; any thread. One path a line; lines that begin with '#' say
// nothing; a path in double quotes is unquoted as git's quote.c does, and taken as it stands where
// that fails.

#include <string>
#include <string_view>
#include <vector>

namespace weir::git {

// As written: relative ones start at the object folder that the file belongs to.
std::vector<std::string> parse_alternates(std::string_view content);

}  // namespace weir::git

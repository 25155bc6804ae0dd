#pragma once
// `weir token add|list|revoke`: makes, shows and withdraws tokens in a token file. A token's text
// is printed once, by add, and kept nowhere. Exit status: 0, 1 (could not be done), or 2 or more
// (usage).

namespace weir::server {

// argv[0] is the name of the command ("token").
int token_command(int argc, char** argv);

}  // namespace weir::server

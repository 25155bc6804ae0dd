// The weir binary: one program, several commands.

int main() { return 0; }

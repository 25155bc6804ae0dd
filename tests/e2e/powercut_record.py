"""Records what processes do to the files under some folders: strace's output as a list of events.

Every event has the place in the record where its call began and where it had ended; the places are a total
order over all processes. An event is (began, ended, kind, path, *details):
  create mode truncated | write offset bytes | truncate size | chmod mode | rename to | link to | symlink target
  unlink | rmdir | mkdir mode                                          what changes files and folders
  fsync | writeout | syncfs                                            what makes changes last
A call on these folders that is not modelled ends the parse with an error, and the caller compares the replayed
end with the disk, so that nothing can be written unseen.
"""
import collections
import os
import re

CALLS = ("open openat creat read write writev pwrite64 pwritev pwritev2 lseek truncate ftruncate fallocate rename"
         " renameat renameat2 link linkat unlink unlinkat mkdir mkdirat rmdir symlink symlinkat fsync fdatasync"
         " syncfs sync sync_file_range copy_file_range sendfile splice dup dup2 dup3 fcntl chdir fchdir clone clone3"
         " fork vfork chmod fchmod fchmodat sendto sendmsg sendmmsg").split()
SENDS = {"write", "writev", "sendto", "sendmsg", "sendmmsg"}
TRANSFERS = {"copy_file_range", "sendfile", "splice", "fallocate", "truncate", "pwritev", "pwritev2"}

Event = collections.namedtuple("Event", "began ended kind path details")


def strace(record, *options):
    """The beginning of a command line that is recorded; the command keeps its pid with -D."""
    return ["strace", "-f", "-q", "-yy", "-xx", "-s", "100000000", "-o", str(record), *options,
            "-e", "signal=none", "-e", "trace=" + ",".join("?" + name for name in CALLS)]


class Call:
    def __init__(self, pid, name, text, began):
        self.pid, self.name, self.text, self.began, self.ended = pid, name, text, began, None

    @property
    def result(self):
        """What it returned; None: it failed or never ended."""
        found = re.search(r"\) += (-?\d+)", self.text)
        return int(found.group(1)) if found and found.group(1) != "-1" else None

    def strings(self):
        found = re.findall(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?', self.text)
        assert not any(cut for _, cut in found), f"cut short: {self.name}"
        return [unhex(text) for text, _ in found]

    def descriptors(self):
        """(number or None for the working directory, path, "deleted" or "") of each it names."""
        found = re.findall(r"(\d+|AT_FDCWD)<((?:\\x[0-9a-f]{2})+)>(\(deleted\))?", self.text)
        return [(int(number) if number.isdigit() else None, unhex(path).decode(), gone)
                for number, path, gone in found]

    def numbers(self):
        """The plain numbers among its arguments."""
        arguments = self.text.rpartition(") =")[0]
        return [int(number) for number in re.findall(r"(?<=, )-?\d+(?=,|$)", arguments)]


def unhex(text):
    return bytes.fromhex(text.replace("\\x", ""))


def read_calls(path):
    calls, open_calls = [], {}
    with open(path, errors="replace") as lines:
        for place, line in enumerate(lines):
            found = re.match(r"(\d+) +(?:<\.\.\. (\w+) resumed>|(\w+)\()(.*)", line)
            if not found:
                continue
            pid, resumed, name, rest = found.groups()
            if resumed:
                call = open_calls.pop(pid, None)
                if call:
                    call.text, call.ended = call.text + rest, place
                continue
            call = Call(pid, name, rest, place)
            calls.append(call)
            if rest.endswith("<unfinished ...>"):
                call.text = rest.removesuffix("<unfinished ...>").rstrip()
                open_calls[pid] = call
            else:
                call.ended = place
    return [call for call in calls if call.ended is not None]


class Process:
    """What a thread shares and a child inherits; file offsets live in the lists in `files`."""

    def __init__(self, folder, files):
        self.folder, self.files = folder, files


class Recording:
    """events: of `folders`, in the order in which their calls ended. sent(text, to) finds marks."""

    def __init__(self, path, folders, started_in):
        self.folders = [str(folder) for folder in folders]
        self.calls = sorted(read_calls(path), key=lambda call: call.ended)
        self.end = 1 + max(call.ended for call in self.calls)
        self.parents = {}
        for call in self.calls:
            if call.name in ("clone", "clone3", "fork", "vfork") and call.result:
                self.parents[str(call.result)] = (call.pid, "CLONE_THREAD" in call.text)
        self.processes, self.started_in = {}, str(started_in)
        self.events = []
        for call in self.calls:
            if call.result is not None:
                self.take(call)

    def process(self, pid):
        if pid not in self.processes:
            if pid not in self.parents:
                self.processes[pid] = Process(self.started_in, {})
            else:
                parent, thread = self.parents[pid]
                its = self.process(parent)
                self.processes[pid] = its if thread else Process(its.folder, dict(its.files))
        return self.processes[pid]

    def ours(self, path):
        return any(path == folder or path.startswith(folder + "/") for folder in self.folders)

    def add(self, call, kind, path, *details):
        if self.ours(path):
            self.events.append(Event(call.began, call.ended, kind, path, details))

    def paths(self, call, process):
        """The path arguments, absolute. A descriptor goes before the path that it is the start of."""
        bases = [path for _, path, _ in call.descriptors()] if "at" in call.name else []
        found = []
        for text in call.strings():
            base = bases.pop(0) if bases else process.folder
            found.append(os.path.normpath(os.path.join(base, text.decode())))
        return found

    def take(self, call):
        process = self.process(call.pid)
        descriptors, name = call.descriptors(), call.name
        if name == "chdir":
            process.folder = self.paths(call, process)[0]
        elif name == "fchdir":
            process.folder = descriptors[0][1]
        elif name in ("open", "openat", "creat"):
            number, path, _ = descriptors[-1]
            process.files[number] = [0, "O_APPEND" in call.text]
            made = "O_CREAT" in call.text or name == "creat"
            truncated = "O_TRUNC" in call.text or name == "creat"
            assert not (self.ours(path) and "O_TMPFILE" in call.text), "O_TMPFILE is not modelled"
            mode = re.search(r", (0\d+)\) += ", call.text)
            if made or truncated:
                self.add(call, "create", path, int(mode.group(1), 8) if mode else 0o644, truncated)
        elif name in ("dup", "dup2", "dup3") or (name == "fcntl" and "F_DUPFD" in call.text):
            source = re.match(r"\d+", call.text)
            if source and int(source.group()) in process.files:
                process.files[call.result] = process.files[int(source.group())]
        elif name in ("rename", "renameat", "renameat2", "link", "linkat"):
            assert "RENAME_EXCHANGE" not in call.text
            from_path, to_path = self.paths(call, process)
            assert self.ours(from_path) == self.ours(to_path), (from_path, to_path)
            self.add(call, name[:6] if name[0] == "r" else "link", from_path, to_path)
        elif name in ("unlink", "unlinkat", "rmdir"):
            folder = name == "rmdir" or "AT_REMOVEDIR" in call.text
            self.add(call, "rmdir" if folder else "unlink", self.paths(call, process)[0])
        elif name in ("mkdir", "mkdirat"):
            mode = re.search(r", (0\d+)\) += ", call.text)
            self.add(call, "mkdir", self.paths(call, process)[0], int(mode.group(1), 8))
        elif name in ("symlink", "symlinkat"):
            target, path = call.strings()
            base = descriptors[0][1] if descriptors else process.folder
            self.add(call, "symlink", os.path.normpath(os.path.join(base, path.decode())), target.decode())
        elif name in ("chmod", "fchmodat", "fchmod"):
            path = descriptors[0][1] if name == "fchmod" else self.paths(call, process)[0]
            self.add(call, "chmod", path, int(re.search(r", (0\d+)[,)]", call.text).group(1), 8))
        elif name == "sync":
            for folder in self.folders:
                self.add(call, "syncfs", folder)
        elif descriptors and self.ours(descriptors[0][1]) and not descriptors[0][2]:
            self.take_file_call(call, process, *descriptors[0][:2])
        elif name in TRANSFERS:
            for _, path, _ in descriptors:
                assert not self.ours(path), f"{name} is not modelled: {path}"

    def take_file_call(self, call, process, number, path):
        name, at = call.name, process.files[number]
        if name == "read":
            at[0] += call.result
        elif name == "lseek":
            at[0] = call.result
        elif name in ("write", "writev"):
            assert not at[1], f"appending is not modelled: {path}"
            data = b"".join(call.strings())[:call.result]
            self.add(call, "write", path, at[0], data)
            at[0] += call.result
        elif name == "pwrite64":
            self.add(call, "write", path, call.numbers()[-1], call.strings()[0][:call.result])
        elif name == "ftruncate":
            self.add(call, "truncate", path, call.numbers()[-1])
        elif name in ("fsync", "fdatasync"):
            self.add(call, "fsync", path)
        elif name == "sync_file_range":
            waits = "SYNC_FILE_RANGE_WRITE" in call.text and "WAIT_AFTER" in call.text
            if waits and call.numbers()[:2] == [0, 0]:
                self.add(call, "writeout", path)
        elif name == "syncfs":
            self.add(call, "syncfs", path)
        elif name != "fcntl":
            raise AssertionError(f"{name} is not modelled: {path}")

    def told(self, report, to):
        """Where each answer began to leave: after a write that holds `report`, the first send whose descriptor
        begins like `to`, maybe the same."""
        places, awaited = [], False
        for call in sorted(self.calls, key=lambda call: call.began):
            if call.name not in SENDS:
                continue
            awaited = awaited or (call.name == "write" and report in b"".join(call.strings()))
            if awaited and re.match(to, call.text):
                places.append(call.began)
                awaited = False
        return places

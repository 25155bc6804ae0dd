"""Looking at processes from outside: trees, names, descriptors. Reads /proc only."""
import os
import pathlib
import time


def _stat(pid):
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    name = text[text.index("(") + 1:text.rindex(")")]
    fields = text.rpartition(")")[2].split()
    return name, fields[0], int(fields[1])


def every_process():
    """{pid: (name, parent)} of all that live; zombies are not counted."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            stat = _stat(entry)
            if stat and stat[1] not in "ZX":
                found[int(entry)] = (stat[0], stat[2])
    return found


def children_of(pid):
    return {child: name for child, (name, parent) in every_process().items() if parent == pid}


def descendants_of(pid):
    processes = every_process()
    found, wanted = {}, [pid]
    while wanted:
        parent = wanted.pop()
        for child, (name, its_parent) in processes.items():
            if its_parent == parent and child not in found:
                found[child] = name
                wanted.append(child)
    return found


def command_line(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def descriptors_of(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def wait_until(condition, seconds=10, what="condition"):
    """Returns what the condition gave; `what` may be a function that describes the failure."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not in time: {what() if callable(what) else what}")
        time.sleep(0.01)

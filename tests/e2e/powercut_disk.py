"""What a disk may hold after a power cut, from a record of what was written and synced (powercut_record.py).

Three models, from the disk that forgets most to the one that mixes most:
  strict     only what a completed sync covered: data by fsync of its file, names by fsync of their folder,
             both by syncfs. All that POSIX promises.
  journalled names come and go in the order in which they were changed (ext4, xfs, btrfs): all of them up to
             some point, which is no earlier than the newest that a sync had to write. Data of files that was
             not synced may be missing, cut short, or zeros.
  arbitrary  beyond strict, any of the changes and any of the data.
"""
import collections
import hashlib
import math
import os
import pathlib

NEVER = math.inf
File = collections.namedtuple("File", "data mode")
Link = collections.namedtuple("Link", "target")
FOLDER = "folder"


class Inode:
    def __init__(self, data=b"", mode=0o644, entries=None, target=None):
        self.data, self.mode, self.entries, self.target = data, mode, entries, target
        self.first_names = dict(entries or {})  # those of the start
        self.writes = []


class Write:
    def __init__(self, ended, offset, data, size=None):
        self.ended, self.offset, self.data, self.size = ended, offset, data, size
        self.synced = NEVER       # when a sync of it had ended
        self.written_out = NEVER  # when it had left memory; lasting with the next sync of the journal

    def apply(self, content, how):
        """how: all, none, half, zeros."""
        if how == "none":
            return
        if self.size is not None:
            del content[self.size:]
            content.extend(bytes(self.size - len(content)))
            return
        data = {"half": self.data[:len(self.data) // 2], "zeros": bytes(len(self.data))}.get(how, self.data)
        content.extend(bytes(max(0, self.offset - len(content))))
        content[self.offset:self.offset + len(data)] = data


class Name:
    """One change of a folder: the name stands for the inode, or for nothing."""

    def __init__(self, folder, name, inode):
        self.folder, self.name, self.inode, self.synced = folder, name, inode, NEVER


class Change:
    """Names that change together: a rename has two."""

    def __init__(self, ended, names):
        self.ended, self.names = ended, names


class Disk:
    """`folder`, of which `start` is a copy: its first state, synced. A syncfs within `file_system` counts."""

    def __init__(self, folder, file_system, start):
        self.folder, self.file_system = str(folder), str(file_system)
        self.inodes, self.changes, self.writes, self.syncs = [], [], [], []
        self.root = self.load(pathlib.Path(start))

    def load(self, path):
        if path.is_symlink():
            inode = Inode(target=os.readlink(path))
        elif path.is_dir():
            inode = Inode(mode=path.stat().st_mode & 0o7777,
                          entries={child.name: self.load(child) for child in sorted(path.iterdir())
                                   if not child.is_socket()})
        elif path.is_file():
            inode = Inode(path.read_bytes(), path.stat().st_mode & 0o7777)
        else:
            raise AssertionError(f"neither file nor folder: {path}")
        self.inodes.append(inode)
        return inode

    def find(self, path):
        inode = self.root
        for name in self.relative(path):
            inode = inode.entries[name]
        return inode

    def relative(self, path):
        assert path == self.folder or path.startswith(self.folder + "/"), path
        return path[len(self.folder):].strip("/").split("/") if path != self.folder else []

    def place_of(self, path):
        return self.find(os.path.dirname(path)), os.path.basename(path)

    def replay(self, events, ignore=lambda event: False):
        """`ignore`: syncs that are to count for nothing."""
        for event in events:
            if event.kind == "syncfs":
                if event.path == self.file_system or event.path.startswith(self.file_system + "/"):
                    if not ignore(event):
                        self.sync(event, None)
            elif event.path == self.folder or event.path.startswith(self.folder + "/"):
                if event.path.endswith(".sock"):
                    continue  # the next start makes it anew
                if event.kind not in ("fsync", "writeout"):
                    self.change(event)
                elif not ignore(event):
                    self.sync(event, self.find(event.path))
        return self

    def change(self, event):
        kind, details = event.kind, event.details
        if kind in ("write", "truncate", "chmod"):
            inode = self.find(event.path)
            if kind == "chmod":
                inode.mode = details[0]
            elif kind == "write":
                self.write(inode, Write(event.ended, details[0], details[1]))
            else:
                self.write(inode, Write(event.ended, 0, b"", details[0]))
            return
        folder, name = self.place_of(event.path)
        if kind == "create" and name in folder.entries:
            if details[1]:
                self.write(folder.entries[name], Write(event.ended, 0, b"", 0))
        elif kind in ("create", "mkdir", "symlink"):
            inode = (Inode(mode=details[0], entries={} if kind == "mkdir" else None) if kind != "symlink"
                     else Inode(target=details[0]))
            self.inodes.append(inode)
            self.rename(event.ended, (folder, name, inode))
        elif kind in ("unlink", "rmdir"):
            self.rename(event.ended, (folder, name, None))
        else:
            inode = folder.entries[name]
            gone = [(folder, name, None)] if kind == "rename" else []
            self.rename(event.ended, *gone, (*self.place_of(details[0]), inode))

    def write(self, inode, write):
        inode.writes.append(write)
        self.writes.append(write)

    def rename(self, ended, *names):
        change = Change(ended, [Name(*name) for name in names])
        self.changes.append(change)
        for folder, name, inode in names:
            if inode is None:
                del folder.entries[name]
            else:
                folder.entries[name] = inode

    def sync(self, event, inode):
        """inode: the only one that it covers."""
        for write in self.writes if inode is None else inode.writes:
            if write.ended < event.began:
                if event.kind == "writeout":
                    write.written_out = min(write.written_out, event.ended)
                else:
                    write.synced = min(write.synced, event.ended)
        if event.kind == "writeout":
            return
        newest = 0  # the newest change that it wrote
        for change in self.changes:
            for name in change.names:
                if change.ended < event.began:
                    if inode in (None, name.folder):
                        name.synced = min(name.synced, event.ended)
                    if inode in (None, name.folder, name.inode):
                        newest = max(newest, change.ended)
        for write in () if inode is None else inode.writes:
            if write.ended < event.began:
                newest = max(newest, write.ended)
        self.syncs.append((event.ended, newest))

    def cuts(self):
        """The moments between which nothing happened here."""
        return sorted({0} | {change.ended for change in self.changes} | {write.ended for write in self.writes}
                      | {ended for ended, _ in self.syncs})

    # ---- what the disk may hold when the power is cut after `cut` ----

    def strict(self, cut):
        return self.state(lambda change, name: name.synced <= cut,
                          lambda write: "all" if write.synced <= cut else "none")

    def floor(self, cut):
        return max((newest for ended, newest in self.syncs if ended <= cut), default=0)

    def journalled(self, cut, names_until, unsynced="none"):
        """names_until: floor(cut) to cut. unsynced: how a write that was not synced shows; may be a function."""
        floor = self.floor(cut)
        how = unsynced if callable(unsynced) else lambda: unsynced

        def data(write):
            if write.ended > cut:
                return "none"
            return "all" if write.synced <= cut or write.written_out <= floor else how()
        return self.state(lambda change, name: change.ended <= names_until, data)

    def arbitrary(self, cut, random):
        chance = random.choice([0.1, 0.5, 0.9])

        def data(write):
            if write.synced <= cut:
                return "all"
            if write.ended > cut or random.random() > chance:
                return "none"
            return random.choice(["all", "half", "zeros"])
        taken = {change: random.random() < chance for change in self.changes if change.ended <= cut}
        return self.state(lambda change, name: name.synced <= cut or taken.get(change, False), data)

    def whole(self, cut):
        return self.state(lambda change, name: change.ended <= cut,
                          lambda write: "all" if write.ended <= cut else "none")

    def state(self, named, written):
        """{path: File, Link or FOLDER} with the changes and writes of which that is true."""
        names = {id(inode): dict(inode.first_names) for inode in self.inodes if inode.entries is not None}
        for change in self.changes:
            for name in change.names:
                if named(change, name):
                    if name.inode is None:
                        names[id(name.folder)].pop(name.name, None)
                    else:
                        names[id(name.folder)][name.name] = name.inode
        state = {}

        def walk(inode, path):
            if inode.target is not None:
                state[path] = Link(inode.target)
            elif inode.entries is None:
                content = bytearray(inode.data) if inode.writes else inode.data
                for write in inode.writes:
                    write.apply(content, written(write))
                state[path] = File(bytes(content), inode.mode)
            else:
                state[path] = FOLDER
                for name, child in names[id(inode)].items():
                    walk(child, f"{path}/{name}" if path else name)
        walk(self.root, "")
        return state


def digest(state):
    total = hashlib.sha1()
    for path, what in sorted(state.items()):
        total.update(repr((path, what)).encode())
    return total.digest()


def put(state, folder):
    """Makes the state true in `folder`, which is not there yet."""
    for path, what in state.items():  # a folder comes before what it holds
        at = os.path.join(folder, path) if path else str(folder)
        if what == FOLDER:
            os.mkdir(at)
        elif isinstance(what, Link):
            os.symlink(what.target, at)
        else:
            with open(at, "wb") as file:
                file.write(what.data)
            os.chmod(at, what.mode)


def text_of(state, path):
    found = state.get(path)
    return found.data.decode(errors="replace") if isinstance(found, File) else None


def states_of(disk, cut, random):
    """(model, state) at that moment, without repeating any: the extremes and some in between."""
    floor, seen = disk.floor(cut), set()
    made = [("strict", disk.strict(cut)), ("whole", disk.whole(cut))]
    made += [("journalled", disk.journalled(cut, until, how))
             for until in (floor, cut) for how in ("none", "half", "zeros")]
    made += [("arbitrary", disk.arbitrary(cut, random)) for _ in range(5)]
    for model, state in made:
        if digest(state) not in seen:
            seen.add(digest(state))
            yield model, state

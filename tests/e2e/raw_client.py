"""Clients without manners: TLS connections that send exactly the bytes given, HTTP/2 frames by hand, and a
look at a server's processes from outside. Nothing here knows how to be polite; that is the point."""
import contextlib
import os
import pathlib
import select
import socket
import ssl
import struct
import threading
import time

ANSWER_SECONDS = 20


class Connection:
    """One TLS connection to `weir`. alpn: "http/1.1", "h2" or None for no ALPN at all."""

    def __init__(self, weir, alpn="http/1.1", timeout=ANSWER_SECONDS):
        context = ssl.create_default_context(cafile=weir.certificate)
        if alpn:
            context.set_alpn_protocols([alpn])
        plain = socket.create_connection(("127.0.0.1", weir.port), timeout=timeout)
        self.socket = context.wrap_socket(plain, server_hostname="localhost")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.close()

    def send(self, data):
        """False: the server has closed, which ends many attacks early."""
        try:
            self.socket.sendall(data)
            return True
        except OSError:
            return False

    def read(self, size=65536):
        """b"" at the end of the connection, however it ends."""
        try:
            return self.socket.recv(size)
        except TimeoutError:
            raise
        except OSError:
            return b""

    def read_to_end(self):
        data = b""
        while chunk := self.read():
            data += chunk
        return data

    def read_until(self, mark):
        data = b""
        while mark not in data:
            chunk = self.read()
            if not chunk:
                return data
            data += chunk
        return data

    def end_output(self):
        """close_notify without waiting for the peer's."""
        with contextlib.suppress(OSError):
            self.socket.setblocking(False)
            with contextlib.suppress(ssl.SSLError):
                self.socket.unwrap()
            self.socket.settimeout(ANSWER_SECONDS)


def status_of(answer):
    """The status code of a raw HTTP/1 answer; 0: there was none."""
    line = answer.split(b"\r\n", 1)[0].split(b" ")
    return int(line[1]) if line[0].startswith(b"HTTP/1.") and len(line) > 1 else 0


def dechunk(body):
    data = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        count = int(size, 16)
        if count == 0:
            break
        data += body[:count]
        body = body[count + 2:]
    return data


def post(weir, path, body, *fields, authorization=None, version="1.1"):
    """Sends one POST whole; (status, head, body) as the server left them."""
    with Connection(weir) as connection:
        head = [f"POST {path} HTTP/{version}", "Host: localhost", "Connection: close",
                f"Content-Length: {len(body)}", *fields]
        if authorization:
            head.append(f"Authorization: Bearer {authorization}")
        connection.send("\r\n".join(head).encode() + b"\r\n\r\n" + body)
        head, _, answer = connection.read_to_end().partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in head.lower():
        answer = dechunk(answer)
    return status_of(head), head, answer


# --- HTTP/2 by hand -------------------------------------------------------------------------------

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS = 1, 1, 4
PROTOCOL_ERROR, ENHANCE_YOUR_CALM = 1, 11
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def hpack_length(value):
    """An integer of a 7-bit prefix."""
    if value < 127:
        return bytes([value])
    value, out = value - 127, bytes([127])
    while value >= 128:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field_block(fields):
    """Every field as a literal, never indexed, no Huffman code."""
    block = b""
    for name, value in fields:
        name, value = name.encode(), value.encode("latin-1")
        block += b"\x10" + hpack_length(len(name)) + name + hpack_length(len(value)) + value
    return block


def request_block(path, method="GET", *more):
    return field_block([(":method", method), (":scheme", "https"), (":authority", "localhost"),
                        (":path", path), *more])


class Http2Connection(Connection):
    def __init__(self, weir, settings=b"", **more):
        super().__init__(weir, alpn="h2", **more)
        self.buffer = b""
        self.send(PREFACE + frame(SETTINGS, payload=settings))

    def next_frame(self):
        """(kind, flags, stream, payload); None: the connection has ended."""
        while len(self.buffer) < 9 or len(self.buffer) < 9 + int.from_bytes(self.buffer[:3], "big"):
            chunk = self.read()
            if not chunk:
                return None
            self.buffer += chunk
        size = int.from_bytes(self.buffer[:3], "big")
        kind, flags = self.buffer[3], self.buffer[4]
        stream = int.from_bytes(self.buffer[5:9], "big") & 0x7FFFFFFF
        payload, self.buffer = self.buffer[9:9 + size], self.buffer[9 + size:]
        return kind, flags, stream, payload

    def goaway_error(self):
        """Reads on to the end; the error code of the last GOAWAY, None if there was none."""
        error = None
        while (got := self.next_frame()) is not None:
            if got[0] == GOAWAY:
                error = struct.unpack(">I", got[3][4:8])[0]
        return error

    def flood(self, frames):
        """Sends all of `frames` and takes what comes back meanwhile; the error of the GOAWAY."""
        self.socket.setblocking(False)
        deadline = time.monotonic() + ANSWER_SECONDS
        answer, waiting, frames, open_ = b"", b"", iter(frames), True
        while open_ and time.monotonic() < deadline:
            while len(waiting) < 65536 and (more := next(frames, None)) is not None:
                waiting += more
            try:
                if waiting:
                    waiting = waiting[self.socket.send(waiting):]
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                pass
            except OSError:
                waiting, frames = b"", iter(())  # closed: what was said before may still be read
            try:
                while open_:
                    chunk = self.socket.recv(65536)
                    answer += chunk
                    open_ = bool(chunk)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                select.select([self.socket], [self.socket] if waiting else [], [], 0.1)
            except OSError:
                open_ = False
        self.socket.settimeout(ANSWER_SECONDS)
        self.buffer += answer
        error = None
        while len(self.buffer) >= 9 + int.from_bytes(self.buffer[:3], "big"):
            kind, _, _, payload = self.next_frame()
            if kind == GOAWAY:
                error = struct.unpack(">I", payload[4:8])[0]
        if open_:
            raise AssertionError("the connection outlived the flood")
        return error


# --- the server from outside ----------------------------------------------------------------------

def stat_fields(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return None


def descendants(root):
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := stat_fields(name)):
            parents[int(name)] = (int(fields[1]), fields[0])
    found, grew = {root}, True
    while grew:
        more = {pid for pid, (parent, _) in parents.items() if parent in found} - found
        found |= more
        grew = bool(more)
    return sorted(pid for pid in found - {root} if parents[pid][1] != "Z")


def command_line(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def environment(pid):
    """As it is in memory; "" of processes that let nobody look in."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read()
    except OSError:
        return b""


def serving_pid(weir):
    """The process that has the event loops."""
    for pid in descendants(weir.process.pid):
        for task in pathlib.Path(f"/proc/{pid}/task").glob("*/comm"):
            with contextlib.suppress(OSError):
                if task.read_text().startswith("weir-loop"):
                    return pid
    raise AssertionError("no serving process")


def git_children(weir):
    """Processes of fetches and pushes that are still there."""
    return [pid for pid in descendants(weir.process.pid)
            if any(word in command_line(pid) for word in ("upload-pack", "receive-pack", "pack-objects"))]


def wait_until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            return value
        time.sleep(0.02)
    return value


def rss_bytes(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def descriptor_count(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


class Bystander:
    """`with Bystander(weir, path) as other:` a well-behaved client on new connections, all the while."""

    def __init__(self, weir, path):
        self.weir, self.path = weir, path
        self.answers, self.failures, self.slowest = 0, [], 0.0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.over.is_set():
            began = time.monotonic()
            try:
                with Connection(self.weir) as connection:
                    connection.send(f"GET {self.path} HTTP/1.1\r\nHost: localhost\r\n"
                                    "Connection: close\r\n\r\n".encode())
                    status = status_of(connection.read_to_end())
                if status != 200:
                    self.failures.append(status)
            except OSError as error:
                self.failures.append(repr(error))
            self.answers += 1
            self.slowest = max(self.slowest, time.monotonic() - began)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        wait_until(lambda: self.answers >= 3, ANSWER_SECONDS)
        self.over.set()
        self.thread.join()

"""What the tests of hostile clients share: a served repository, requests made of raw bytes, pkt-lines."""
import hashlib
import re
import struct
import zlib

import raw_client as raw
from weir_server import WeirTestCase, git, make_work_tree

REFS = "/acme/site.git/info/refs?service=git-upload-pack"
UPLOAD = "/acme/site.git/git-upload-pack"
RECEIVE = "/acme/site.git/git-receive-pack"
UPLOAD_TYPE = "Content-Type: application/x-git-upload-pack-request"
RECEIVE_TYPE = "Content-Type: application/x-git-receive-pack-request"
V2 = "Git-Protocol: version=2"
ZERO = "0" * 40
PUSH_BYTES_MAX = 2 * 1024 * 1024


def pkt(text):
    data = text if isinstance(text, bytes) else text.encode()
    return b"%04x" % (len(data) + 4) + data


def v2_fetch(*arguments):
    return (pkt("command=fetch") + pkt("object-format=sha1") + b"0001" +
            b"".join(map(pkt, arguments)) + b"0000")


def v0_fetch(want, *lines, capabilities="side-band-64k ofs-delta"):
    return pkt(f"want {want} {capabilities}\n") + b"".join(map(pkt, lines)) + b"0000" + pkt("done\n")


def command(old, new, ref, capabilities="report-status side-band-64k object-format=sha1"):
    return pkt(f"{old} {new} {ref}\0 {capabilities}".encode())


def empty_pack():
    head = b"PACK" + struct.pack(">II", 2, 0)
    return head + hashlib.sha1(head).digest()


def varint(value, first=b"", bits=7):
    """Little-endian groups of seven bits; `first`: what the first byte, of `bits` bits, holds beside them."""
    byte, value = (first[0] if first else 0) | value & (1 << bits) - 1, value >> bits
    out = b""
    while value:
        out, byte, value = out + bytes([byte | 0x80]), value & 0x7F, value >> 7
    return out + bytes([byte])


def delta_bomb(size, count):
    """A pack of a blob of `size` zeros and `count` others that are it and four bytes more."""
    base = bytes(size)
    pack = b"PACK" + struct.pack(">II", 2, 1 + count) + varint(size, b"\x30", 4) + zlib.compress(base, 9)
    name = hashlib.sha1(b"blob %d\0" % size + base).digest()
    copies = b""
    for offset in range(0, size, 0xFFFF00):
        copies += b"\xff" + struct.pack("<I", offset) + struct.pack("<I", min(0xFFFF00, size - offset))[:3]
    for number in range(count):
        delta = varint(size) + varint(size + 4) + copies + b"\4" + struct.pack(">I", number)
        pack += varint(len(delta), b"\x70", 4) + name + zlib.compress(delta, 9)
    return pack + hashlib.sha1(pack).digest()


def statuses_in(answers):
    return [int(status) for status in re.findall(rb"(?:^|\n)HTTP/1\.1 (\d+) ", answers)]


class AbuseTestCase(WeirTestCase):
    config = f"""
[git]
push_bytes_max = {PUSH_BYTES_MAX}
fetch_request_bytes_max = {1024 * 1024}
"""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.work = make_work_tree(cls.weir.folder / "work")
        cls.served = cls.weir.make_repository("acme/site.git")
        git("push", "-q", "--mirror", cls.served, cwd=cls.work)
        cls.main = git("rev-parse", "main", cwd=cls.work).out.strip()

    def upload(self, body, *fields, version=0, path=UPLOAD):
        return raw.post(self.weir, path, body, UPLOAD_TYPE, *([V2] if version == 2 else []), *fields)

    def receive(self, body, *fields, path=RECEIVE):
        return raw.post(self.weir, path, body, RECEIVE_TYPE, *fields, authorization=self.token)

    def no_child_is_left(self):
        self.assertTrue(raw.wait_until(lambda: not raw.git_children(self.weir)),
                        [raw.command_line(pid) for pid in raw.git_children(self.weir)])

    def still_serves(self):
        self.assertEqual(self.weir.curl(REFS, "-o", "/dev/null", "-w", "%{http_code}").stdout, b"200")


def request(*fields, line=f"GET {REFS} HTTP/1.1", host=True, body=b""):
    head = [line, *(["Host: localhost"] if host else []), *fields]
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body


def body_request(*fields, body=b""):
    return request(UPLOAD_TYPE, *fields, line=f"POST {UPLOAD} HTTP/1.1", body=body)

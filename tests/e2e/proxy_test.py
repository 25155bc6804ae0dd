"""Goal: a request is accounted to the client's own address behind proxies that are listed, and to nobody
else's word. Method: peers at 127.0.0.2 (must send PROXY v2) and 127.0.0.3 (whose X-Forwarded-For is
believed), and the log."""
import socket
import ssl
import struct
import unittest

from weir_server import WeirTestCase

PATH = "/acme/nothing.git/info/refs?service=git-upload-pack"


def proxy_v2(address):
    body = (socket.inet_aton(address) + socket.inet_aton("127.0.0.1") + struct.pack("!HH", 5555, 443))
    return b"\r\n\r\n\0\r\nQUIT\n" + bytes([0x21, 0x11]) + struct.pack("!H", len(body)) + body


class ProxyTest(WeirTestCase):
    config = """
[listen]
proxy_protocol_networks = ["127.0.0.2/32"]
forwarded_for_networks = ["127.0.0.3/32", "10.0.0.0/8"]
"""

    def ask(self, source, agent, header=b"", fields=""):
        """The status line of one request, "" if the server closed; `agent` names its log record."""
        trust = ssl.create_default_context(cafile=str(self.weir.certificate))
        with socket.create_connection(("127.0.0.1", self.weir.port), 10,
                                      source_address=(source, 0)) as plain:
            plain.sendall(header)
            try:
                with trust.wrap_socket(plain, server_hostname="localhost") as tls:
                    tls.sendall((f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: {agent}\r\n"
                                 f"{fields}Connection: close\r\n\r\n").encode())
                    return tls.makefile("rb").readline().decode()
            except (ssl.SSLError, ConnectionError):
                return ""

    def address_of(self, agent):
        return self.weir.wait_for_record(lambda record: record["agent"] == agent)["address"]

    def test_listed_peer_names_its_client_in_a_proxy_header(self):
        self.assertIn(" 401 ", self.ask("127.0.0.2", "listed", proxy_v2("203.0.113.7")))
        self.assertEqual(self.address_of("listed"), "203.0.113.7")

    def test_local_command_keeps_the_connections_address(self):
        local = b"\r\n\r\n\0\r\nQUIT\n" + bytes([0x20, 0]) + b"\0\0"
        self.assertIn(" 401 ", self.ask("127.0.0.2", "local", local))
        self.assertEqual(self.address_of("local"), "127.0.0.2")

    def test_listed_peer_without_a_header_is_closed(self):
        self.assertEqual(self.ask("127.0.0.2", "bare"), "")

    def test_header_of_an_unlisted_peer_is_refused(self):
        self.assertEqual(self.ask("127.0.0.1", "forged", proxy_v2("203.0.113.7")), "")
        self.assertIn(" 401 ", self.ask("127.0.0.1", "plain"))
        self.assertEqual(self.address_of("plain"), "127.0.0.1")

    def test_forwarded_for_counts_only_from_listed_proxies(self):
        field = "X-Forwarded-For: 198.51.100.1, 203.0.113.9, 10.1.2.3\r\n"
        self.ask("127.0.0.3", "proxied", fields=field)
        self.assertEqual(self.address_of("proxied"), "203.0.113.9")
        self.ask("127.0.0.1", "liar", fields=field)
        self.assertEqual(self.address_of("liar"), "127.0.0.1")

    def test_networks_change_with_a_reload(self):
        text = self.weir.config_path.read_text()
        try:
            self.weir.config_path.write_text(text.replace("127.0.0.3/32", "127.0.0.4/32"))
            self.weir.reload()
            self.ask("127.0.0.4", "moved", fields="X-Forwarded-For: 203.0.113.20\r\n")
            self.assertEqual(self.address_of("moved"), "203.0.113.20")
            self.ask("127.0.0.3", "unlisted", fields="X-Forwarded-For: 203.0.113.20\r\n")
            self.assertEqual(self.address_of("unlisted"), "127.0.0.3")
        finally:
            self.weir.config_path.write_text(text)
            self.weir.reload()


if __name__ == "__main__":
    unittest.main()

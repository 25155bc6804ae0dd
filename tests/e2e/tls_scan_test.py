"""Goal: a scanner that others use finds nothing of medium grade or above in Weir's TLS. Method: testssl.sh (Debian)
against a running server with an ECDSA and an RSA certificate, on loopback, asking nobody else.

WEIR_TLS_SCAN=full adds every cipher, simulated clients and implementation bugs: minutes."""
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

from weir_server import Weir

GROUPS = {  # protocols, ciphers, the server's choices, forward secrecy, HTTP head, vulnerabilities
    "brief": (["-p", "-s", "-S", "-P", "-f", "-h", "-U"], 600),
    "full": (["--full"], 3600),
}
BAD = ("MEDIUM", "HIGH", "CRITICAL", "FATAL")
UNDONE = "WARN"  # the scanner's word for what it could not check
EXCEPTIONS = {
    # What the test's own certificates are and an operator's are not:
    "cert_chain_of_trust": "they are self-signed",
    "cert_revocation": "they name neither CRL nor OCSP",
    # What the scanner lacks:
    "engine_problem": "OpenSSL of Debian has no GOST ciphers to try; Weir names the few it offers",
}
AT_TIMES = {  # a race of the scanner with itself; resumption has tests of its own
    "sessionresumption_ticket": "its first client may leave before the ticket of TLS 1.3 has come",
}
LOOKED_AT = ("SSLv2", "TLS1", "TLS1_2", "TLS1_3", "cipherlist_NULL", "cipherlist_STRONG", "cipher_order", "PFS",
             "cert_keySize", "heartbleed", "CCS", "ticketbleed", "ROBOT", "secure_client_renego", "CRIME_TLS",
             "POODLE_SSL", "SWEET32", "LOGJAM", "LUCKY13", "RC4", "HTTP_status_code")


def make_certificate(folder, name, *key):
    subprocess.run(["openssl", "req", "-x509", *key, "-nodes", "-days", "90", "-sha256", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", folder / f"{name}.key",
                    "-out", folder / f"{name}.pem"], check=True, capture_output=True)


class TwoCertificates(Weir):
    def prepare(self):
        make_certificate(self.state, "ecdsa", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
        make_certificate(self.state, "rsa", "-newkey", "rsa:3072")
        self.write_config()
        self.config_path.write_text(self.config_path.read_text().replace(
            f'{{ certificate = "{self.certificate}", key = "{self.state}/key.pem" }}',
            ", ".join(f'{{ certificate = "{self.state}/{name}.pem", key = "{self.state}/{name}.key" }}'
                      for name in ("ecdsa", "rsa"))))


class TlsScanTest(unittest.TestCase):
    def test_a_scanner_finds_nothing_of_medium_grade_or_above(self):
        groups, seconds = GROUPS[os.environ.get("WEIR_TLS_SCAN", "brief")]
        with TwoCertificates() as weir, tempfile.TemporaryDirectory(prefix="weir-scan-") as folder:
            found = pathlib.Path(folder, "found.json")
            scan = subprocess.run(
                ["testssl", *groups, "--quiet", "--color", "0", "--warnings", "off", "--nodns", "none",
                 "--ip", "127.0.0.1", "--connect-timeout", "20", "--openssl-timeout", "20", "--jsonfile", found,
                 f"https://localhost:{weir.port}/"], cwd=folder, stdin=subprocess.DEVNULL,
                env={"PATH": "/usr/bin:/bin", "TERM": "dumb", "LC_ALL": "C.UTF-8", "HOME": folder, "TMPDIR": folder},
                capture_output=True, text=True, timeout=seconds)
            self.assertTrue(found.exists(), scan.stdout + scan.stderr)
            findings = json.loads(found.read_text())
        grades = {}
        for finding in findings:
            name = finding["id"].split(" ")[0]
            grades.setdefault(finding["severity"], {})[name] = finding["finding"]
        seen = {name for by_name in grades.values() for name in by_name}
        self.assertEqual([name for name in LOOKED_AT if name not in seen], [], "not looked at\n" + scan.stdout)
        certificates = [finding["id"] for finding in findings if finding["id"].startswith("cert_keySize")]
        self.assertEqual(len(certificates), 2, certificates)
        for grade in (*BAD, UNDONE):
            with self.subTest(grade):
                self.assertEqual({name: text for name, text in grades.get(grade, {}).items()
                                  if name not in {**EXCEPTIONS, **AT_TIMES}}, {}, scan.stdout)
        excused = {name for grade in (*BAD, UNDONE) for name in grades.get(grade, {})}
        self.assertEqual(set(EXCEPTIONS) - excused, set(), "an exception that nothing needs any more")


if __name__ == "__main__":
    unittest.main()

"""The servers that are compared, each on loopback ports of its own and ended by its own pid: Weir, nginx
serving static files, nginx before git http-backend (fcgiwrap), each over TLS with the same certificate."""
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests/e2e"))
from weir_server import Weir, free_port  # noqa: E402

import measure  # noqa: E402


def wait_for_port(port, process, seconds=10):
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 0.5).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"nothing listens on {port}") from None
            time.sleep(0.02)


class PinnedWeir(Weir):
    """One loop, pinned with all its children to the server core."""

    def __init__(self, **options):
        super().__init__(loops=1, **options)

    def start(self):
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {int(measure.SERVER_CORE)})
        try:
            super().start()
        finally:
            os.sched_setaffinity(0, before)

    def cpu_seconds(self):
        return measure.cpu_seconds([self.process.pid])


class Nginx:
    """Serves `static` under / and, with `repositories`, git http-backend under /git/; TLS and plain."""

    def __init__(self, certificate, key, static, repositories=None, plain=False):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="weir-nginx-"))
        self.port = free_port()
        self.certificate, self.key = certificate, key
        self.static, self.repositories, self.plain = static, repositories, plain
        self.processes = []

    def configuration(self):
        listen = (f"listen 127.0.0.1:{self.port} reuseport;" if self.plain else
                  f"listen 127.0.0.1:{self.port} ssl http2 reuseport;")
        backend = ""
        if self.repositories:
            backend = f"""
      location /git/ {{
        client_max_body_size 0;
        fastcgi_pass unix:{self.folder}/fcgi.sock;
        include /etc/nginx/fastcgi_params;
        fastcgi_param SCRIPT_FILENAME {self.folder}/http-backend;
        fastcgi_param GIT_PROJECT_ROOT {self.repositories};
        fastcgi_param GIT_HTTP_EXPORT_ALL "";
        fastcgi_param GIT_PROTOCOL $http_git_protocol;
        fastcgi_param PATH_INFO $git_path;
        fastcgi_buffering off;
        rewrite ^/git(/.*)$ /git$1 break;
      }}"""
        return f"""
daemon off; worker_processes 1; pid {self.folder}/pid; error_log {self.folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log {self.folder}/access.log;
  client_body_temp_path {self.folder}; proxy_temp_path {self.folder}; fastcgi_temp_path {self.folder};
  uwsgi_temp_path {self.folder}; scgi_temp_path {self.folder};
  keepalive_requests 1000000; keepalive_timeout 300s; sendfile on; tcp_nopush on; tcp_nodelay on;
  map $uri $git_path {{ ~^/git(?<rest>/.*)$ $rest; }}
  server {{
    {listen}
    ssl_certificate {self.certificate}; ssl_certificate_key {self.key};
    ssl_protocols TLSv1.2 TLSv1.3; ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256;
    ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
    ssl_buffer_size 16k; http2_max_concurrent_streams 128; 
    root {self.static};
    {backend}
  }}
}}"""

    def __enter__(self):
        (self.folder / "nginx.conf").write_text(self.configuration())
        os.chmod(self.folder, 0o755)
        if self.repositories:
            script = self.folder / "http-backend"
            script.write_text("#!/bin/sh\nexec env --default-signal=CHLD /usr/bin/time -q -a "
                              f"-o {self.folder}/backend-cpu -f '%U %S' "
                              "/usr/lib/git-core/git-http-backend\n")
            script.chmod(0o755)
            fcgi = subprocess.Popen(
                measure.on_server_core(["/usr/sbin/fcgiwrap", "-c", "2", "-s", f"unix:{self.folder}/fcgi.sock"]),
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                env={"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "GIT_CONFIG_COUNT": "1",
                     "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"})
            self.processes.append(fcgi)
            while not (self.folder / "fcgi.sock").exists():
                assert fcgi.poll() is None
                time.sleep(0.01)
            os.chmod(self.folder / "fcgi.sock", 0o666)
        nginx = subprocess.Popen(
            measure.on_server_core(["/usr/sbin/nginx", "-p", self.folder, "-c",
                                    self.folder / "nginx.conf", "-g", "user root;"]),
            start_new_session=True)
        self.processes.append(nginx)
        wait_for_port(self.port, nginx)
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            # fcgiwrap leaves its workers behind: its whole group, which is ours alone, is ended.
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)

    def cpu_seconds(self):
        """fcgiwrap ignores its children's ends, so nobody knows what they used: time(1) writes it down."""
        backend = 0.0
        if self.repositories and (self.folder / "backend-cpu").exists():
            backend = sum(map(float, (self.folder / "backend-cpu").read_text().split()))
        return backend + measure.cpu_seconds([process.pid for process in self.processes])

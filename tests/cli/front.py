"""A relay between the sidecar and the local AWS: TLS in front of it, or calls that are changed on their way."""

import contextlib
import http.server
import json
import socket
import ssl
import subprocess
import threading
import urllib.error
import urllib.request
from urllib.parse import urlsplit


class TlsFront:
    """Takes TLS connections and passes on what is inside, as it is."""

    def __init__(self, target, certificate, key):
        self.target = (urlsplit(target).hostname, urlsplit(target).port)
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(certificate, key)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://localhost:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection = self.listener.accept()[0]
                threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with contextlib.suppress(OSError):
            inside = self.tls.wrap_socket(connection, server_side=True)
            relay(inside, socket.create_connection(self.target))

    def close(self):
        # A thread that waits in accept() is not woken by close() alone.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def relay(one, other):
    """Passes bytes both ways until one side ends."""

    def pump(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for side in (source, sink):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    back = threading.Thread(target=pump, args=(other, one), daemon=True)
    back.start()
    pump(one, other)
    back.join()
    one.close()
    other.close()


class Relay:
    """Passes on HTTP calls, except those that `rules` names by operation or last part of the path.

    A rule is called with the request and a function that passes it on, and returns (status, body).
    """

    def __init__(self, target, rules):
        self.target = target
        self.rules = rules
        relay = self

        class Calls(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                name = self.headers.get("X-Amz-Target", self.path).replace("/", ".").rsplit(".", 1)[-1]
                pass_on = lambda: relay.pass_on(self.command, self.path, self.headers, body)
                rule = relay.rules.get(name)
                status, answer = rule(pass_on) if rule else pass_on()
                with contextlib.suppress(OSError):
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)

            do_GET = do_POST

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Calls)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def pass_on(self, method, path, headers, body):
        """The service's own answer."""
        kept = {name: value for name, value in headers.items() if name.lower() not in ("connection", "content-length")}
        request = urllib.request.Request(self.target + path, body if method == "POST" else None, kept, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def refusal(code, status=400):
    """A rule: the error of a JSON 1.1 service."""
    return lambda _: (status, json.dumps({"__type": code, "message": "because of the test"}).encode())


def authority(folder, name):
    """A certificate authority of its own and a certificate of it for localhost; the paths (ca, certificate, key)."""
    run = lambda *arguments: subprocess.run(
        ["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60
    )
    ca, ca_key = folder / f"{name}.pem", folder / f"{name}.key"
    certificate, key, request = (folder / f"{name}-localhost.{end}" for end in ("pem", "key", "csr"))
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    run("req", "-x509", *curve, "-days", 2, "-subj", f"/CN={name}", "-keyout", ca_key, "-out", ca,
        "-addext", "keyUsage=critical,keyCertSign")  # fmt: skip
    run("req", *curve, "-subj", "/CN=localhost", "-keyout", key, "-out", request)
    extensions = folder / f"{name}.ext"
    extensions.write_text("subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n")
    run("x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-days", 2,
        "-extfile", extensions, "-out", certificate)  # fmt: skip
    return ca, certificate, key

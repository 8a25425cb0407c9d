"""Servers and clients of HTTP, run inside a network namespace: `python http_peer.py WHAT ARGUMENTS…`.

- `serve ADDRESS PORT`: answers until it is killed. `/echo` gives the body back, `/chunked` comes in chunks, `/slow` after a
  second, an upgrade becomes an echo of bytes, everything else says method and path.
- `tls ADDRESS PORT CERTIFICATE KEY`: the same over TLS.
- `keep HOST PORT`: one connection; sends a GET for each path that comes in by a line, and says status and body.
- `many HOST PORT COUNT`: so many GETs on one connection; says how many had which status.
- `upgrade HOST PORT`: an upgrade, then bytes that look like requests; says what came back.
- `tls-get HOST PORT NAME`: one GET over TLS that asks for a name.
- `ours HOST PORT`: a GET from a socket as taskfault marks its own.
"""

import collections
import ctypes
import http.client
import http.server
import os
import socket
import ssl
import sys
import time

# The group of the sockets of taskfault (effects::net::lifeline).
GROUP = 29_798


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, address, port):
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, int(port)), Handler)

    def handle_error(self, *_):
        """A connection that was reset is no news."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def answer(self):
        if self.headers.get("Upgrade"):
            return self.upgrade()
        body = self.body()
        if self.path != "/echo":
            body = f"{self.command} {self.path} from {self.client_address[0]}\n".encode()
        if self.path == "/slow":
            time.sleep(1)
        self.send_response(200)
        if self.path == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for byte in body:
                self.wfile.write(b"1\r\n%c\r\n" % byte)
            return self.wfile.write(b"0\r\n\r\n")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def upgrade(self):
        self.send_response(101)
        self.send_header("Upgrade", self.headers["Upgrade"])
        self.end_headers()
        while piece := self.connection.recv(4096):
            self.connection.sendall(piece)
        self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = answer


def say(*words):
    print(*words, flush=True)


def serve(address, port):
    server = Server(address, port)
    say("ready")
    server.serve_forever()


def tls(address, port, certificate, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = Server(address, port)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    say("ready")
    server.serve_forever()


def get(connection, path):
    """Status and body, or the name of the error."""
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return f"{answer.status} {answer.read().decode().strip()}"
    except OSError as error:
        connection.close()
        return type(error).__name__


def keep(host, port):
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    connection.connect()
    say("ready")
    for line in sys.stdin:
        say(get(connection, line.strip()))


def many(host, port, count):
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    codes = collections.Counter(get(connection, "/many").split()[0] for _ in range(int(count)))
    say(" ".join(f"{code}={number}" for code, number in sorted(codes.items())))


def upgrade(host, port):
    stream = socket.create_connection((host, int(port)), timeout=10)
    stream.sendall(b"GET /socket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += stream.recv(1)
    sent = b"GET /hit HTTP/1.1\r\nHost: a\r\n\r\n" + os.urandom(100_000)
    stream.sendall(sent)
    came = b""
    while len(came) < len(sent):
        came += stream.recv(65_536)
    say(head.split()[1].decode(), came == sent)


def tls_get(host, port, name):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        plain = socket.create_connection((host, int(port)), timeout=5)
        stream = context.wrap_socket(plain, server_hostname=name)
        stream.sendall(b"GET /tls HTTP/1.0\r\n\r\n")
        say(stream.recv(100).decode().split("\r\n")[0])
    except OSError as error:
        say(type(error).__name__)


def ours(host, port):
    ctypes.CDLL(None).setfsgid(GROUP)
    say(get(http.client.HTTPConnection(host, int(port), timeout=5), "/ours"))


if __name__ == "__main__":
    globals()[sys.argv[1].replace("-", "_")](*sys.argv[2:])

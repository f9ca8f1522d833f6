"""A site that sends without end, slowly, and two HTTP proxies that reach it."""

import http.server
import socket
import threading
import time


class Site(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        try:
            for _ in range(1000):
                self.wfile.write(b"x" * 20_000)
                time.sleep(0.2)
        except OSError:
            pass

    def do_HEAD(self):
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def carry(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    for end in (source, sink):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def serve(client):
    head = b""
    while b"\r\n\r\n" not in head:
        data = client.recv(4096)
        if not data:
            return
        head += data
    host, port = head.split()[1].decode().rsplit(":", 1)
    if host == "foreign.example":
        host = "203.0.113.10"
    try:
        site = socket.create_connection((host, int(port)), 5)
    except OSError:
        client.sendall(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
        return client.close()
    client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    threading.Thread(target=carry, args=(client, site), daemon=True).start()
    carry(site, client)


site = http.server.ThreadingHTTPServer(("203.0.113.10", 80), Site)
threading.Thread(target=site.serve_forever, daemon=True).start()


def proxy(port):
    listener = socket.create_server(("192.0.2.1", port))
    while True:
        accepted, _ = listener.accept()
        threading.Thread(target=serve, args=(accepted,), daemon=True).start()


threading.Thread(target=proxy, args=(8082,), daemon=True).start()
proxy(8080)

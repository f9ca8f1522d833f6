"""A page in a browser: how long it takes to load, with empty caches, over a long path.

Two pages of 40 files each, from five foreign and three domestic names that no other page has, over
TLS and HTTP/2 (nginx, a certificate of the lab's own that the browser does not look at). Every name
has an address of its own, so that no connection serves two of them. Foreign addresses are behind the
long path, and packets to them that come directly are dropped; domestic ones are near. The domestic
name server answers at once, foreign names with a forged address; the trusted one is foreign too.

The browser is a headless Chromium with a fresh profile for each load. What counts is the time from
the begin of the navigation to the load event, as the page itself sees it (performance.now()), so the
start of the browser is not in it, and names are.

As a program it is a name server: `page.py ADDRESS ZONES`, a table of names in JSON.

Each contestant is set up as its manual says:

- snet: captures names and connections; its trusted server is asked through the proxy, as by default;
- sslocal (redir) with chinadns-ng: connections to what is not in the set of domestic addresses are
  redirected; chinadns-ng asks the domestic server over UDP and the trusted one over TCP, which is
  redirected as well;
- sing-box: fake addresses for all but domestic names, which go to the domestic server;
- mihomo: fake addresses for all names; rules by name.
"""

import json
import os
import re
import shutil
import socketserver
import struct
import subprocess
import sys
import tempfile
import threading
import time

FOREIGN_NAMES, DOMESTIC_NAMES, FILES = 5, 3, 40
METHOD, PORT = "aes-256-gcm", 8391
DNS_FOREIGN, FORGED = "198.51.100.53", "198.51.100.99"
NEAR, NEARBY = "192.0.2.2", "192.0.2.1"
RESOLV = "/etc/resolv.conf"


# The names.

def zones():
    """The addresses of both pages' names."""
    foreign = {f"{host}.page{page}.example": f"198.51.100.{10 + number}"
               for page in (1, 2) for number, host in enumerate(
                   ["www"] + [f"cdn{n}" for n in range(1, FOREIGN_NAMES)])}
    domestic = {f"img{number}.page{page}.example.cn": f"223.5.5.{5 + number}"
                for page in (1, 2) for number in range(DOMESTIC_NAMES)}
    return foreign, domestic


def serve_names(address, table):
    def answer(query):
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode().lower())
            at += 1 + query[at]
        end = at + 5
        kind = struct.unpack("!H", query[at + 1:at + 3])[0]
        found = table.get(".".join(labels)) if kind == 1 else None
        head = query[:2] + struct.pack("!HHHHH", 0x8180, 1, 1 if found else 0, 0, 0)
        record = b""
        if found:
            record = struct.pack("!HHHIH", 0xC00C, 1, 1, 300, 4) + bytes(map(int, found.split(".")))
        return head + query[12:end] + record

    class Datagram(socketserver.BaseRequestHandler):
        def handle(self):
            self.request[1].sendto(answer(self.request[0]), self.client_address)

    class Stream(socketserver.StreamRequestHandler):
        disable_nagle_algorithm = True

        def handle(self):
            while len(length := self.rfile.read(2)) == 2:
                reply = answer(self.rfile.read(struct.unpack("!H", length)[0]))
                self.wfile.write(struct.pack("!H", len(reply)) + reply)

    class StreamServer(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    udp = socketserver.ThreadingUDPServer((address, 53), Datagram)
    threading.Thread(target=udp.serve_forever, daemon=True).start()
    StreamServer((address, 53), Stream).serve_forever()


# The internet's side.

def servers():
    """Starts all; False if a program is missing."""
    import lab
    import peers
    from lab import DOMESTIC, Process, have, inside, run, write
    if not all(have(program) for program in ("chromium", "nginx", "openssl", "ssserver")):
        return False
    run("ip link add near type veth peer name nearby netns internet")
    run(f"ip address add {NEAR}/24 dev near")
    run("ip link set near up")
    inside(f"ip address add {NEARBY}/24 dev nearby")
    inside("ip link set nearby up")
    run(f"ip route add 223.5.5.0/24 via {NEARBY}")
    foreign, domestic = zones()
    addresses = sorted(set(foreign.values()) | set(domestic.values()))
    for address in addresses + [DNS_FOREIGN]:
        inside(f"ip address replace {address}/32 dev lo")
    inside("iptables -A INPUT -i downlink -d 198.51.100.0/24 -j DROP")
    for address, table in ((DNS_FOREIGN, {**foreign, **domestic}),
                           (DOMESTIC, {**{name: FORGED for name in foreign}, **domestic})):
        Process(["python3", "-B", os.path.abspath(__file__), address, json.dumps(table)],
                internet=True, log=f"names-{address}.log")
        lab.wait_tcp(address, 53, internet=True)
    # It is told names, and asks a name server of its own side. With Nagle's algorithm, its default,
    # what a site says in two pieces comes a round trip later.
    resolv = write("server-resolv.conf", f"nameserver {DNS_FOREIGN}\n", 0o644)
    Process(["sh", "-c", f"mount --bind {resolv} {os.path.realpath(RESOLV)} && exec ssserver "
             f"-s {lab.SERVER}:{PORT} --tcp-no-delay -m {METHOD} -k '{peers.PASSWORD}'"], internet=True,
            log="page-ssserver.log")
    lab.wait_tcp(lab.SERVER, PORT, internet=True)
    pem = write("page.pem", "")
    run(f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 9 "
        f"-keyout {pem}.key -out {pem}.crt -subj /CN=page")
    root = tempfile.mkdtemp(prefix="page-", dir=lab.WORK)
    os.chmod(lab.WORK, 0o755)
    os.chmod(root, 0o755)
    for page in (1, 2):
        write_page(root, page)
    listen = "".join(f"listen {address}:443 ssl http2;" for address in addresses)
    conf = write("page.conf", f"""
        daemon off; user root; worker_processes 1; pid {root}.pid; error_log /dev/null crit;
        events {{ worker_connections 1024; }}
        http {{ access_log off; types {{ text/html html; text/css css; text/javascript js;
                                        image/svg+xml svg; }}
                server {{ {listen} root {root}; ssl_certificate {pem}.crt;
                          ssl_certificate_key {pem}.key;
                          ssl_protocols TLSv1.2 TLSv1.3; }} }}""", 0o644)
    Process(["nginx", "-c", conf, "-e", "/dev/null"], internet=True, log="page-nginx.log")
    lab.wait_tcp(addresses[0], 443, internet=True)
    return True


def write_page(root, page):
    """The document, four style sheets, six scripts and 29 images, 2 to 60 KB each."""
    foreign, domestic = zones()
    hosts = [name for name in [*foreign, *domestic] if f".page{page}." in name]
    parts = []
    for number in range(FILES - 1):
        kind = "css" if number < 4 else "js" if number < 10 else "svg"
        name, size = f"{page}-{number}.{kind}", 2000 + (number * 7919) % 58000
        comment = "x" * size
        text = {"css": f"/*{comment}*/", "js": f"/*{comment}*/",
                "svg": '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9">'
                       f"<!--{comment}--></svg>"}[kind]
        with open(os.path.join(root, name), "w") as file:
            file.write(text)
        url = f"https://{hosts[number % len(hosts)]}/{name}"
        parts.append({"css": f'<link rel="stylesheet" href="{url}">',
                      "js": f'<script defer src="{url}"></script>',
                      "svg": f'<img src="{url}">'}[kind])
    with open(os.path.join(root, f"{page}.html"), "w") as file:
        file.write("<!doctype html><html><head><script>let bad = 0;"
                   "addEventListener('error', () => bad++, true);"
                   "addEventListener('load', () => document.documentElement.setAttribute("
                   "'data-load', performance.now() + ' ' + bad))</script>"
                   + "".join(parts[:10]) + "</head><body>" + "".join(parts[10:]) + "</body></html>")


# This machine's side.

class Resolver:
    """What /etc/resolv.conf of this mount namespace says."""

    file = None

    @classmethod
    def set(cls, address):
        import lab
        if cls.file is None:
            cls.file = lab.write("resolv.conf", "", 0o644)
            subprocess.run(["mount", "--bind", cls.file, os.path.realpath(RESOLV)], check=True)
        with open(cls.file, "w") as file:
            file.write(f"nameserver {address}\n")


class Behind:
    """Programs behind rules of nat/OUTPUT, for whoever brings none."""

    def __init__(self, processes, rules):
        from lab import run
        self.processes, self.rules = processes, rules
        for rule in rules:
            run(f"iptables -t nat -A OUTPUT {rule}")

    def stop(self):
        from lab import run
        for rule in self.rules:
            run(f"iptables -t nat -D OUTPUT {rule}")
        for process in self.processes:
            process.stop()


def snet(executable):
    import peers
    from lab import DOMESTIC, SERVER
    Resolver.set(DOMESTIC)
    text = (f'[[proxy]]\ntype = "shadowsocks"\nserver = "{SERVER}:{PORT}"\n'
            f'method = "{METHOD}"\npassword = "{peers.PASSWORD}"\n')
    return peers.snet(executable, text, names=f'china = ["{DOMESTIC}"]\ntrusted = ["{DNS_FOREIGN}"]')


def sslocal():
    import names
    import peers
    from lab import DOMESTIC, SERVER, Process, wait_tcp
    Resolver.set("127.0.0.1")
    names.china_sets()
    proxy = Process(["sslocal", "--protocol", "redir", "-b", f"127.0.0.1:{peers.LISTEN}",
                     "--tcp-no-delay", "-s", f"{SERVER}:{PORT}", "-m", METHOD,
                     "-k", peers.PASSWORD])
    wait_tcp("127.0.0.1", peers.LISTEN)
    resolver = Process(["chinadns-ng", "-l", "53", "-c", DOMESTIC, "-t", f"tcp://{DNS_FOREIGN}",
                        "-4", "chnroute4", "-6", "chnroute6", "--cache", "4096"])
    return Behind([resolver, proxy], [
        "-p tcp -m set --match-set chnroute4 dst -j RETURN",
        f"-p tcp -d {SERVER} -j RETURN",
        "-p tcp -d 127.0.0.0/8 -j RETURN",
        f"-p tcp -j REDIRECT --to-ports {peers.LISTEN}"])


def sing_box():
    import peers
    from lab import DOMESTIC, SERVER, Process, wait_tcp, write
    Resolver.set("127.0.0.1")
    file = write("sing-box-page.json", json.dumps({
        "log": {"level": "error"},
        "dns": {
            "servers": [{"type": "udp", "tag": "domestic", "server": DOMESTIC},
                        {"type": "tcp", "tag": "trusted", "server": DNS_FOREIGN, "detour": "p"},
                        {"type": "fakeip", "tag": "fake", "inet4_range": "198.18.0.0/15"}],
            "rules": [{"domain_suffix": ["example.cn"], "server": "domestic"},
                      {"query_type": ["A", "AAAA"], "server": "fake"}],
            "final": "trusted"},
        "inbounds": [{"type": "direct", "tag": "dns", "listen": "127.0.0.1", "listen_port": 53},
                     {"type": "redirect", "listen": "127.0.0.1", "listen_port": peers.LISTEN}],
        "outbounds": [{"type": "shadowsocks", "tag": "p", "server": SERVER, "method": METHOD,
                       "server_port": PORT, "password": peers.PASSWORD},
                      {"type": "direct", "tag": "direct"}],
        "route": {"rules": [{"inbound": "dns", "action": "hijack-dns"},
                            {"domain_suffix": ["example.cn"], "outbound": "direct"}],
                  "default_domain_resolver": "domestic", "final": "p"}}))
    process = Process(["sing-box", "run", "-c", file], log="sing-box-page.log")
    wait_tcp("127.0.0.1", peers.LISTEN)
    return Behind([process], [f"-p tcp -d 198.18.0.0/15 -j REDIRECT --to-ports {peers.LISTEN}"])


def mihomo():
    import peers
    from lab import DOMESTIC, SERVER, Process, wait_tcp, write
    Resolver.set("127.0.0.1")
    file = write("mihomo-page.yaml", json.dumps({
        "redir-port": peers.LISTEN, "bind-address": "127.0.0.1", "allow-lan": False,
        "mode": "rule", "log-level": "warning", "ipv6": False, "geodata-mode": False,
        "dns": {"enable": True, "listen": "127.0.0.1:53", "enhanced-mode": "fake-ip",
                "fake-ip-range": "198.18.0.1/16", "default-nameserver": [DOMESTIC],
                "nameserver": [f"tcp://{DNS_FOREIGN}#p"],
                "nameserver-policy": {"+.example.cn": DOMESTIC}},
        "proxies": [{"name": "p", "type": "ss", "server": SERVER, "port": PORT,
                     "cipher": METHOD, "password": peers.PASSWORD}],
        "rules": ["DOMAIN-SUFFIX,example.cn,DIRECT", "MATCH,p"]}))
    process = Process(["mihomo", "-d", file + ".d", "-f", file], log="mihomo-page.log")
    wait_tcp("127.0.0.1", peers.LISTEN)
    return Behind([process], [f"-p tcp -d 198.18.0.0/15 -j REDIRECT --to-ports {peers.LISTEN}"])


# What is measured.

def load(page):
    """Milliseconds until the load event, or None."""
    profile = tempfile.mkdtemp(prefix="chromium-")
    try:
        # Without the sandbox, since here it would be a user namespace inside another one.
        done = subprocess.run(
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             "--ignore-certificate-errors", "--disable-background-networking", "--no-first-run",
             "--disable-component-update", "--disable-sync", "--disable-extensions",
             "--disable-quic", "--disable-features=DnsOverHttps,OptimizationHints,MediaRouter",
             f"--user-data-dir={profile}", "--dump-dom", f"https://www.page{page}.example/{page}.html"],
            capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        print("  the browser hangs", file=sys.stderr)
        return None
    finally:
        shutil.rmtree(profile, ignore_errors=True)
    seen = re.search(r'data-load="([\d.]+) (\d+)"', done.stdout)
    if not seen or seen[2] != "0":
        what = f"{seen[2]} files failed" if seen else done.stderr.strip().splitlines()[-1:]
        print(f"  page: {what}", file=sys.stderr)
        return None
    return float(seen[1])


def both(_):
    """One page with a daemon that has just been started, and one of other names after it."""
    time.sleep(1)
    first = load(1)
    time.sleep(2)
    second = load(2)
    return None if first is None or second is None else (first, second)


def plan(bench, options):
    import peers
    name = "page of 40 files in a browser"
    if not bench.wants(name) or not servers():
        return
    everyone = {"snet": lambda: snet(options.snet), "snet beside": lambda: snet(peers.second),
                "sslocal": sslocal, "sing-box": sing_box, "mihomo": mihomo}
    contestants = peers.present(everyone)
    if not peers.have("chinadns-ng"):
        contestants.pop("sslocal", None)
    rows = [bench.row(f"{name}, first", "ms", "0.75 x each"),
            bench.row(f"{name}, next", "ms", "0.75 x each")]
    bench.plan.append((contestants, [(name, rows, both)]))


if __name__ == "__main__":
    serve_names(sys.argv[1], json.loads(sys.argv[2]))

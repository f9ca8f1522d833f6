"""Names: the resolver and its peers, what is measured, and the rows.

Each asks two servers of the internet, the domestic one and the trusted one. Both are an unbound that
knows two zones and denies no name in them: one with a domestic address, one with a foreign one.
"""

import os
import re
import subprocess
import sys

import lab
import peers
from lab import DOMESTIC, SERVER, TRUSTED, Process, have, run, write

PORT, UPSTREAM = 1211, 5300
# Names of its own make each run uncached; so many are asked a run.
JUDGED, HELD = 30000, 20000
ZONES = {"domestic": ("domestic.example", DOMESTIC), "foreign": ("foreign.example", "8.8.8.8")}
CHINA = os.path.join(os.path.dirname(__file__), "../../src/data")

next_name = 0


def servers():
    """The name servers of the internet, on a port of their own; every TTL is an hour."""
    if not have("unbound"):
        return False
    zones = "".join(f'  local-zone: "{zone}" redirect\n  local-data: "{zone} 3600 A {address}"\n'
                    for zone, address in ZONES.values())
    for address in (SERVER, TRUSTED):
        file = write(f"unbound-{address}.conf", unbound_text(address, UPSTREAM, zones))
        Process(["unbound", "-d", "-c", file], internet=True, log=f"unbound-{address}.log")
        lab.wait_tcp(address, UPSTREAM, internet=True)
    return True


def china_sets():
    """The domestic addresses as ipset has them, for those that look there."""
    for family, number in (("inet", 4), ("inet6", 6)):
        with open(os.path.join(CHINA, f"china-ipv{number}.txt")) as file:
            prefixes = [line.strip() for line in file if line[0] not in "#\n"]
        name = f"chnroute{number}"
        text = f"create {name} hash:net family {family} maxelem 65536\n" + "".join(
            f"add {name} {prefix}\n" for prefix in prefixes)
        subprocess.run(["ipset", "-exist", "restore"], input=text, text=True, check=True)


# The contestants.

def unbound_text(address, port, more):
    return f"""
server:
  interface: {address}
  port: {port}
  do-daemonize: no
  chroot: ""
  username: ""
  pidfile: ""
  directory: "/"
  use-syslog: no
  num-threads: 1
  module-config: "iterator"
  access-control: 0.0.0.0/0 allow
  do-not-query-localhost: no
  tcp-idle-timeout: 30000
{more}"""


def unbound():
    file = write("unbound.conf", unbound_text("127.0.0.1", PORT, f"""
  msg-cache-size: 64m
  rrset-cache-size: 64m
forward-zone:
  name: "."
  forward-addr: {SERVER}@{UPSTREAM}
"""))
    return ready(Process(["unbound", "-d", "-c", file]))


def dnsmasq(cache=50000):
    # It takes the memory for its whole cache at once.
    return ready(Process(["dnsmasq", "-d", "-C", "/dev/null", "--no-resolv", "--no-hosts",
                          "--pid-file", "--bind-interfaces", "--listen-address=127.0.0.1",
                          f"--port={PORT}", f"--server={SERVER}#{UPSTREAM}", "--dns-forward-max=1000",
                          f"--cache-size={cache}"]))


def chinadns_ng(trusted="", cache=50000):
    """`trusted`: how the trusted server is asked; over UDP, or as snet does it, "tcp://"."""
    return ready(Process(["chinadns-ng", "-l", str(PORT), "-c", f"{SERVER}#{UPSTREAM}",
                          "-t", f"{trusted}{TRUSTED}#{UPSTREAM}", "-4", "chnroute4", "-6", "chnroute6",
                          "--cache", str(cache)]))


def snet(executable, cache=64):
    """The resolver alone, as the peers are: no rules, and with them no conntrack."""
    file = write("dns-only.toml", f"""
[listen]
dns-port = {PORT}
[dns]
china = ["{SERVER}:{UPSTREAM}"]
trusted = ["{TRUSTED}:{UPSTREAM}"]
trusted-via = "direct"
cache-size = "{cache}MiB"
rate-limit = 0
[log]
level = "warn"
""")
    return ready(Process([executable, "--dns-only", "-c", file], log="snet.log"))


def ready(process):
    return peers.started(process, lambda: f":{PORT} " in run("ss -Hlnu").stdout)


class Captured:
    """A peer behind one rule that redirects the queries for one address to it."""

    def __init__(self, process):
        self.process = process
        run(f"iptables -t nat -A {self.rule}")

    rule = f"OUTPUT -p udp -d {DOMESTIC} --dport 53 -j REDIRECT --to-ports {PORT}"

    def stop(self):
        run(f"iptables -t nat -D {self.rule}")
        self.process.stop()

    def __getattr__(self, name):
        return getattr(self.process, name)


def cachers(executable):
    return peers.present({
        "snet": lambda: snet(executable),
        "snet beside": lambda: snet(peers.second),
        "chinadns-ng": chinadns_ng,
        "dnsmasq": dnsmasq,
        "unbound": unbound,
    })


def capturers(executable):
    """snet brings its own rules, and has conntrack by them, as the peers by theirs."""
    return peers.present({
        "snet": lambda: peers.snet_shadowsocks(executable, "aes-256-gcm", port=UPSTREAM),
        "snet beside": lambda: peers.snet_shadowsocks(peers.second, "aes-256-gcm", port=UPSTREAM),
        "chinadns-ng": lambda: Captured(chinadns_ng()),
        "dnsmasq": lambda: Captured(dnsmasq()),
        "unbound": lambda: Captured(unbound()),
    })


# What is measured.

def ask(server, port, names, *limits):
    """Queries answered, and answers a second; None if some were not."""
    text = subprocess.run(["dnsperf", "-s", server, "-p", str(port), "-d", names, "-c", "4",
                           *limits], capture_output=True, text=True).stdout
    done = re.search(r"Queries completed:\s+(\d+)", text)
    rate = re.search(r"Queries per second:\s+([\d.]+)", text)
    good = re.search(r"NOERROR \d+ \(([\d.]+)%\)", text)
    if not done or not rate or not good or float(good[1]) < 99 or int(done[1]) < 1000:
        print(f"  dnsperf: {' '.join(text.split()[-60:])}", file=sys.stderr)
        return None
    return int(done[1]), float(rate[1])


def fresh(zone, count):
    """A file of names that no run before it had."""
    global next_name
    names = range(next_name, next_name + count)
    next_name += count
    return write("fresh", "".join(f"name{n}.{zone} A\n" for n in names))


def cached(process, server, port, seconds):
    """CPU microseconds per answer from the cache, and answers per second."""
    names = fresh(ZONES["domestic"][0], 1000)
    # What is asked for the first time may be lost; twice is enough to have all.
    for _ in range(2):
        ask(server, port, names, "-n", "1", "-q", "20")
    before = process.cpu()
    asked = ask(server, port, names, "-l", f"{max(2, round(seconds))}")
    return asked and ((process.cpu() - before) * 1e6 / asked[0], asked[1])


def judged(process, zone):
    """CPU microseconds per name that was never asked before, and answers per second."""
    names = fresh(zone, JUDGED)
    before = process.cpu()
    asked = ask("127.0.0.1", PORT, names, "-n", "1", "-q", "50")
    return asked and ((process.cpu() - before) * 1e6 / asked[0], asked[1])


class Twice:
    """A name server with a cache, and how to start it without one."""

    def __init__(self, start):
        self.full, self.without = start(), lambda: start(0)

    def stop(self):
        self.full.stop()


def held(twice):
    """Bytes of RAM for each answer that is kept: beside the same program that keeps none."""
    def fill(process):
        asked = ask("127.0.0.1", PORT, fresh(ZONES["domestic"][0], HELD), "-n", "1", "-q", "50")
        return asked and process.memory()

    full = fill(twice.full)
    twice.stop()
    empty = twice.without()
    try:
        bare = fill(empty)
        return full and bare and (full - bare) * 1024 / HELD
    finally:
        empty.stop()


# The rows.

def plan(bench, options):
    names = ["cached DNS answer", "captured DNS answer", "memory a cached answer",
             *(f"judged DNS name, {kind}" for kind in ZONES)]
    if not any(bench.wants(name) for name in names):
        return
    if not servers():
        print("the rows on names are left out: unbound serves them", file=sys.stderr)
        return
    china_sets()
    executable, seconds = options.snet, options.seconds
    bench.single("cached DNS answer", ("CPU us", "1/s"), cachers(executable),
                 lambda process: cached(process, "127.0.0.1", PORT, seconds), "0.87 chinadns-ng")
    bench.single("captured DNS answer", ("CPU us", "1/s"), capturers(executable),
                 lambda process: cached(process, DOMESTIC, 53, seconds), "0.75 x best")
    judges = peers.present({
        "snet": lambda: snet(executable),
        "snet beside": lambda: snet(peers.second),
        "chinadns-ng": chinadns_ng,
        "chinadns-ng, TCP": lambda: chinadns_ng("tcp://"),
    })
    for kind, (zone, _) in ZONES.items():
        bench.single(f"judged DNS name, {kind}", ("CPU us", "1/s"), judges,
                     lambda process, zone=zone: judged(process, zone), "0.7 chinadns-ng")
    keepers = peers.present({
        "snet": lambda: Twice(lambda size=64: snet(executable, size)),
        "snet beside": lambda: Twice(lambda size=64: snet(peers.second, size)),
        "chinadns-ng": lambda: Twice(lambda size=50000: chinadns_ng(cache=size)),
        "dnsmasq": lambda: Twice(lambda size=HELD: dnsmasq(size)),
    })
    bench.single("memory a cached answer", ("bytes",), keepers, held, "1.0 x best")

"""UDP of a LAN host, captured by TPROXY, through shadowsocks: the contestants and what is measured.

household 192.168.50.10 and up, behind the machine's link lan0, translated on its way out

The load is examples/udp-load. Every run takes client ports that no run before it had: what conntrack
remembers of an older flow would be taken for one that has to stay direct.
"""

import json
import os
import re
import resource
import subprocess
import sys
import time

import lab
import peers
from lab import SERVER, TARGET, Process, have, run, write

HOUSEHOLD, SOURCES = "192.168.50.10", 200
SITE, FAST = 5000, 8390
METHOD, METHOD_2022 = "aes-256-gcm", "2022-blake3-aes-256-gcm"
LENGTH, RATE = 1350, 30000
FIRST_PORT, LAST_PORT, RUN = 10000, 60000, 100

load = None
next_port = FIRST_PORT


def build(executable):
    """The household and the servers."""
    global load
    load = executable
    run("ip netns add household")
    run("ip link add lan0 type veth peer name eth0 netns household")
    run("ip address add 192.168.50.1/24 dev lan0")
    run("ip link set lan0 up")
    for number in range(SOURCES):
        lan(f"ip address add 192.168.50.{10 + number}/24 dev eth0")
    lan("ip link set lo up")
    lan("ip link set eth0 up")
    lan("ip route add default via 192.168.50.1")
    run("sysctl -qw net.ipv4.ip_forward=1")
    run("iptables -t nat -A POSTROUTING -s 192.168.50.0/24 -o uplink -j MASQUERADE")
    if have("ssserver"):
        Process(["ssserver", "-U", "-s", f"{SERVER}:{FAST + 1}", "-m", METHOD,
                 "-k", peers.PASSWORD], internet=True, log="ssserver-udp.log")
    else:
        Process(["ss-server", "-u", "-s", SERVER, "-p", str(FAST + 1), "-m", METHOD,
                 "-k", peers.PASSWORD], internet=True, log="ss-server-udp.log")
    if have("ssserver"):
        Process(["ssserver", "-U", "-s", f"{SERVER}:{FAST + 2}", "-m", METHOD_2022,
                 "-k", peers.KEY], internet=True, log="ssserver-udp-2022.log")
    Process([load, "site", f"{TARGET}:{SITE}"], internet=True, log="site.log")
    Process([load, "proxy", f"{SERVER}:{FAST}", METHOD, peers.PASSWORD], internet=True,
            log="fast.log")


def lan(line, check=True):
    return run(f"ip netns exec household {line}", check)


def ask(kind, *arguments):
    """One run of the load: its numbers by name, or None."""
    global next_port
    address = f"{HOUSEHOLD}:{next_port}"
    next_port += RUN
    if next_port > LAST_PORT:
        next_port = FIRST_PORT
    line = " ".join(str(argument) for argument in arguments)
    done = lan(f"{load} {kind} {TARGET}:{SITE} {address} {line}", check=False)
    numbers = {name: float(value) for name, value in re.findall(r"(\w+)=([\d.]+)", done.stdout)}
    if not numbers:
        print(f"  udp-load {kind}: {done.stderr.strip()}", file=sys.stderr)
    return numbers or None


# What is measured.

def one_way(process, kind, seconds):
    """CPU microseconds for each datagram that arrived, and the part that did not, in percent."""
    before = process.cpu()
    numbers = ask(kind, LENGTH, RATE, seconds)
    cpu = process.cpu() - before
    if not numbers or not numbers["arrived"]:
        return None
    lost = 100 * (1 - numbers["arrived"] / numbers["sent"])
    return cpu * 1e6 / numbers["arrived"], lost


def in_turn(process, seconds):
    """CPU microseconds for each question with its answer, and how long one takes."""
    before = process.cpu()
    numbers = ask("echo", 64, 64, seconds)
    cpu = process.cpu() - before
    if not numbers or numbers["arrived"] < 100:
        return None
    return cpu * 1e6 / numbers["arrived"], numbers["microseconds"]


def most(kind):
    """The highest rate, in steps of a fifth, of which less than 0.1 % is lost; twice in vain ends
    the search."""
    best, rate, vain = None, 4000, 0
    while vain < 2 and rate < 400000:
        numbers = ask(kind, LENGTH, rate, 0.7)
        if numbers and numbers["arrived"] >= 0.999 * numbers["sent"]:
            best, rate, vain = rate, int(rate * 1.2), 0
        else:
            vain += 1
    return best and (best / 1000,)


def idle(process):
    """KiB of RAM for each of many sessions that have asked and were answered once."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    # As many as snet's share of these files allows (daemon/limits.rs).
    sessions = min(10000, (files - 1024) // 4 - 512 - 100)
    before = process.memory()
    numbers = ask("hold", sessions, SOURCES)
    if not numbers or numbers["arrived"] < 0.99 * sessions:
        return None
    time.sleep(1)
    return (process.memory() - before) / sessions


# The contestants.

class Tproxy:
    """One TPROXY rule, and the way to it, around a program that has none of its own."""

    WAY = ("rule {} fwmark 1 lookup 100", "route {} local default dev lo table 100")
    RULE = (f"iptables -t mangle -{{}} PREROUTING -i lan0 -p udp -d {TARGET} -j TPROXY "
            f"--on-ip 127.0.0.1 --on-port {peers.LISTEN} --tproxy-mark 1")

    def __init__(self, process):
        self.process = process
        for line in self.WAY:
            run("ip " + line.format("add"))
        run(self.RULE.format("A"))

    def stop(self):
        run(self.RULE.format("D"))
        for line in self.WAY:
            run("ip " + line.format("del"))
        self.process.stop()

    def __getattr__(self, name):
        return getattr(self.process, name)


def keys(port):
    """Method and password of the server at this port."""
    return (METHOD_2022, peers.KEY) if port == FAST + 2 else (METHOD, peers.PASSWORD)


def snet(executable, port):
    method, password = keys(port)
    file = write("snet-udp.toml", f"""
mode = "router"
[listen]
tcp-port = {peers.LISTEN}
dns-port = {peers.DNS}
[[proxy]]
type = "shadowsocks"
server = "{SERVER}:{port}"
method = "{method}"
password = "{password}"
udp = true
[dns]
china = ["{SERVER}"]
trusted = ["{lab.TRUSTED}"]
trusted-via = "direct"
[firewall]
backend = "nftables"
udp = "proxy"
quic = "proxy"
interfaces = ["lan0"]
[log]
level = "warn"
""")
    return Process([executable, "-c", file], log="snet-udp.log")


def sslocal(port):
    method, password = keys(port)
    return Tproxy(Process([
        "sslocal", "-U", "--protocol", "redir", "-b", f"127.0.0.1:{peers.LISTEN}",
        "--tcp-redir", "redirect", "--udp-redir", "tproxy",
        "-s", f"{SERVER}:{port}", "-m", method, "-k", password]))


def ss_redir(port):
    return Tproxy(Process([
        "ss-redir", "-u", "-s", SERVER, "-p", str(port), "-b", "127.0.0.1",
        "-l", str(peers.LISTEN), "-m", METHOD, "-k", peers.PASSWORD]))


def sing_box(port):
    method, password = keys(port)
    file = write("sing-box-udp.json", json.dumps({
        "log": {"level": "error"},
        "inbounds": [{"type": "tproxy", "listen": "127.0.0.1", "listen_port": peers.LISTEN,
                      "network": "udp"}],
        "outbounds": [{"type": "shadowsocks", "server": SERVER, "server_port": port,
                       "method": method, "password": password}]}))
    return Tproxy(Process(["sing-box", "run", "-c", file], log="sing-box-udp.log"))


def mihomo(port):
    method, password = keys(port)
    folder = os.path.join(lab.WORK, "mihomo")
    os.makedirs(folder, exist_ok=True)
    # JSON is YAML.
    file = write("mihomo/config.yaml", json.dumps({
        "tproxy-port": peers.LISTEN, "allow-lan": False, "mode": "rule", "log-level": "error",
        "ipv6": False, "rules": ["MATCH,through"],
        "proxies": [{"name": "through", "type": "ss", "server": SERVER, "port": port,
                     "cipher": method, "password": password, "udp": True}]}))
    return Tproxy(Process(["mihomo", "-d", folder, "-f", file], log="mihomo-udp.log"))


def answering(start):
    """A contestant that carries datagrams by now."""
    process = start()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        numbers = ask("echo", 64, 1, 0.05)
        if numbers and numbers["arrived"]:
            return process
        time.sleep(0.2)
    said = process.said()
    process.stop()
    raise RuntimeError("it carries no datagrams: " + said)


def contestants(executable, port):
    everyone = {
        "snet": lambda: snet(executable, port),
        "snet beside": lambda: snet(peers.second, port),
        "sslocal": lambda: sslocal(port),
        "ss-redir": lambda: ss_redir(port),
        "sing-box": lambda: sing_box(port),
        "mihomo": lambda: mihomo(port),
    }
    if port == FAST + 2:
        del everyone["ss-redir"]
    return {name: lambda start=start: answering(start)
            for name, start in peers.present(everyone).items()}


def plan(bench, options):
    """The rows."""
    rows = [
        ("UDP up, 1,350 bytes, 30,000/s", ("CPU us", "% lost"), "0.35 sslocal",
         lambda process: one_way(process, "up", options.seconds)),
        ("UDP down, 1,350 bytes, 30,000/s", ("CPU us", "% lost"), "0.35 sslocal",
         lambda process: one_way(process, "down", options.seconds)),
        ("UDP question and answer, 64 flows", ("CPU us", "us"), "0.6 x best",
         lambda process: in_turn(process, options.seconds)),
    ]
    fast = [
        ("UDP up, most at < 0.1 % lost", ("1000/s",), "2 sslocal", lambda _: most("up")),
        ("UDP down, most at < 0.1 % lost", ("1000/s",), "2 sslocal", lambda _: most("down")),
    ]
    of_2022 = [
        (f"UDP 2022 {kind}, 1,350 bytes, 30,000/s", ("CPU us", "% lost"), "0.30 sslocal",
         lambda process, kind=kind: one_way(process, kind, options.seconds))
        for kind in ("up", "down") if have("ssserver")]
    rest = [("UDP session at rest", ("KiB",), "2 KiB", idle)]
    wanted = [row for row in rows + of_2022 + fast + rest if bench.wants(row[0])]
    if not wanted:
        return
    build(options.load)
    for row in wanted:
        port = FAST if row in fast else FAST + 2 if row in of_2022 else FAST + 1
        bench.single(row[0], row[1], contestants(options.snet, port), row[3], row[2])

"""Runs the contestants round by round and prints the table. Called by scripts/bench.sh."""

import argparse
import json
import os
import platform
import re
import resource
import shutil
import socket
import subprocess
import sys
import time

import datagrams
import lab
import long_path
import names
import peers
from lab import DOMESTIC, TARGET
from table import Row, render

HELD = 900


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--only", default="")
    parser.add_argument("--snet", required=True)
    parser.add_argument("--beside")
    parser.add_argument("--load", required=True)
    parser.add_argument("--peers")
    parser.add_argument("--delay", type=float)
    parser.add_argument("--loss", type=float, default=0)
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.seconds = options.seconds or (1.5 if options.quick else 2.5)
    options.snet, options.load = os.path.abspath(options.snet), os.path.abspath(options.load)
    peers.choose(options.peers, options.beside and os.path.abspath(options.beside))
    return options


# What is measured. Each takes a running contestant and returns numbers, or None.

def iperf(process, target, streams, download, seconds):
    """CPU seconds per GB in the contestant, and Gbit/s."""
    command = ["iperf3", "-c", target, "-J", "-P", str(streams), "-t", f"{max(1, round(seconds))}"]
    before = process.cpu()
    done = subprocess.run(command + ["-R"] * download, capture_output=True, text=True)
    cpu = process.cpu() - before
    try:
        report = json.loads(done.stdout)
        if "error" in report:
            print(f"  iperf3: {report['error']}", file=sys.stderr)
            return None
        received, sent = report["end"]["sum_received"], report["end"]["sum_sent"]
        # What was in flight at the end of an upload has cost something too.
        carried = max(received["bytes"], 0 if download else sent["bytes"])
        return cpu / (carried / 1e9), received["bits_per_second"] / 1e9
    except (KeyError, ValueError, ZeroDivisionError):
        return None


def connections(process, seconds):
    """CPU microseconds per connection, and connections per second."""
    command = ["wrk", "-t1", "-c32", f"-d{max(2, round(seconds))}s", "-H", "Connection: close",
               f"http://{TARGET}/index.html"]
    before = process.cpu()
    text = subprocess.run(command, capture_output=True, text=True).stdout
    cpu = process.cpu() - before
    count = re.search(r"(\d+) requests in ([\d.]+)s", text)
    if not count or int(count[1]) < 100 or "Non-2xx" in text:
        return None
    return cpu * 1e6 / int(count[1]), int(count[1]) / float(count[2])


def idle(process):
    """KiB of RAM for each of many held connections, every one of which has carried bytes."""
    before = process.memory()
    held = []
    try:
        for _ in range(HELD):
            connection = socket.create_connection((TARGET, peers.HOLD), timeout=10)
            connection.sendall(b"hello")
            held.append(connection)
        for connection in held:
            if connection.recv(100) != b"hello":
                return None
        time.sleep(2.5)
        return (process.memory() - before) / HELD
    except OSError as error:
        print(f"  held connections: {error}", file=sys.stderr)
        return None
    finally:
        for connection in held:
            connection.close()


def start_to_ready(executable):
    """Milliseconds from exec to the log line that says ready."""
    server = peers.SS_PORT["aes-256-gcm"]
    file = lab.write("start.toml", f"""
[listen]
tcp-port = {peers.LISTEN}
dns-port = {peers.DNS}
[[proxy]]
type = "shadowsocks"
server = "{lab.SERVER}:{server}"
method = "aes-256-gcm"
password = "{peers.PASSWORD}"
[firewall]
backend = "iptables"
""")
    began = time.monotonic()
    child = subprocess.Popen([executable, "-c", file], stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True)
    taken = None
    for line in child.stdout:
        if "ready" in line:
            taken = (time.monotonic() - began) * 1000
            break
    child.terminate()
    child.communicate()
    return taken


# The plan.

class Bench:
    def __init__(self, options):
        self.options, self.rows, self.plan = options, [], []

    def row(self, name, unit, target=None):
        row = Row(name, unit, target)
        self.rows.append(row)
        return row

    def wants(self, name):
        return self.options.only in name

    def transfers(self, title, contestants, shapes, cost_target, speed_target=None):
        work = []
        for streams, download in shapes:
            name = f"{title}, {streams} stream{'s' * (streams > 1)} {'down' if download else 'up'}"
            if self.wants(name):
                cost, speed = (self.row(name, "CPU s/GB", cost_target),
                               self.row(name, "Gbit/s", speed_target))
                work.append((name, (cost, speed), lambda process, s=streams, d=download: iperf(
                    process, TARGET, s, d, self.options.seconds)))
        self.plan.append((contestants, work))

    def single(self, name, units, contestants, measure, target=None):
        if self.wants(name):
            rows = [self.row(name, unit, target if n == 0 else None)
                    for n, unit in enumerate(units)]
            self.plan.append((contestants, [(name, rows, measure)]))

    def go(self):
        for number in range(self.options.rounds):
            for contestants, work in self.plan:
                if not work:
                    continue
                # Alternating: who is first changes with the round.
                names = list(contestants)
                turn = number % len(names)
                for name in names[turn:] + names[:turn]:
                    self.serve(number, name, contestants[name], work)

    def serve(self, number, contestant, start, work):
        process = start()
        try:
            time.sleep(0.3)
            for name, rows, measure in work:
                result = measure(process)
                if result is None:
                    # The target serves one measurement at a time and may not have finished.
                    time.sleep(1.5)
                    result = measure(process)
                print(f"round {number + 1}: {name}: {contestant}: {shown(result)}",
                      file=sys.stderr, flush=True)
                if result is None:
                    continue
                values = result if isinstance(result, tuple) else (result,)
                for row, value in zip(rows, values):
                    row.add(contestant, value)
        finally:
            if process:
                process.stop()


def shown(result):
    if result is None:
        return "failed"
    return " ".join(f"{value:.3f}" for value in (result if isinstance(result, tuple) else (result,)))


class Nobody:
    """No daemon at all."""

    def cpu(self):
        return 0

    def stop(self):
        pass


def main():
    options = parse()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if options.delay is None:
        lab.build()
    else:
        lab.build(options.delay, options.loss)
    for line in peers.hint():
        print(line, file=sys.stderr)
    print(versions(options), flush=True)
    peers.targets()
    if lab.can_connect(TARGET, 80):
        sys.exit("the target answers without a proxy: nothing would be measured")
    bench = Bench(options)
    (plan if options.delay is None else long_path.plan)(bench, options)
    if not bench.rows:
        sys.exit(f'no row that can be measured here has "{options.only}" in its name')
    try:
        bench.go()
    finally:
        print(render(bench.rows))
        shutil.rmtree(lab.WORK, ignore_errors=True)


def plan(bench, options):
    quick, executable = options.quick, options.snet
    down, up = True, False
    every = [(1, down), (8, down), (1, up), (8, up)]
    some = [(1, down), (8, up)]
    if peers.shadowsocks_servers():
        bench.transfers("aes-256-gcm", peers.shadowsocks(executable, "aes-256-gcm"),
                        some if quick else every, "0.5 sslocal, 0.65 sing-box", "1.3 x best")
        bench.transfers("chacha20-poly1305",
                        peers.shadowsocks(executable, "chacha20-ietf-poly1305"),
                        some[:1] if quick else some, "0.6 sslocal")
        if peers.have("ssserver"):
            bench.transfers("shadowsocks 2022 (aes-256)",
                            peers.shadowsocks(executable, "2022-blake3-aes-256-gcm"),
                            some, "1.0 older method")
        contestants = peers.shadowsocks(executable, "aes-256-gcm")
        bench.single("connections, shadowsocks", ("CPU us", "1/s"),
                     peers.connecting(executable, "aes-256-gcm"),
                     lambda process: connections(process, options.seconds), "0.85 x best")
        bench.single("idle connection, shadowsocks", ("KiB",), contestants, idle, "4 KiB")
        datagrams.plan(bench, options)
    for kind in ("squid", "sing-box", "tinyproxy"):
        if not peers.http_server(kind):
            continue
        slow = kind == "tinyproxy"
        shapes = [(1, down)] if slow or quick else [(1, down), (8, down), (1, up)]
        contestants = peers.http(executable, kind)
        bench.transfers(f"HTTP by {kind}", contestants, shapes,
                        "0.5 x best" if slow else "1.0 sing-box")
        if kind == "squid":
            bench.single("connections, HTTP", ("CPU us", "1/s"), contestants,
                         lambda process: connections(process, options.seconds), "0.75 x best")
            bench.single("idle connection, HTTP", ("KiB",), contestants, idle, "4 KiB")
            https(bench, options)
    names.plan(bench, options)
    start = {"snet": lambda: peers.snet_shadowsocks(executable, "aes-256-gcm"),
             "no daemon": Nobody}
    for download in (down, up):
        bench.single(f"domestic, {'down' if download else 'up'}", ("CPU s/GB", "Gbit/s"), start,
                     lambda process, d=download: iperf(process, DOMESTIC, 1, d, options.seconds),
                     "no CPU; 0.97 x Gbit/s")
    bench.single("start to ready", ("ms",), {"snet": Nobody},
                 lambda _: start_to_ready(executable), "200 ms")
    bench.single("memory at rest", ("MiB",),
                 peers.shadowsocks(executable, "aes-256-gcm"),
                 lambda process: process.memory() / 1024, "12 MiB")
    bench.single("executable", ("MiB",), {"snet": Nobody},
                 lambda _: os.path.getsize(executable) / 2**20, "8 MiB")


def https(bench, options):
    """Through haproxy before squid, which has to run."""
    certificate = peers.https_servers()
    if not certificate:
        return
    for title, alpn in (("HTTPS", "http/1.1"), ("HTTP/2", "h2")):
        contestants = peers.https(options.snet, alpn, certificate)
        bench.transfers(title, contestants, [(1, True), (8, False)], "1.0 x best")
        bench.single(f"connections, {title}", ("CPU us", "1/s"), contestants,
                     lambda process: connections(process, options.seconds), "1.0 x best")
        bench.single(f"idle connection, {title}", ("KiB",), contestants, idle, "24 KiB")


def versions(options):
    def first(*command):
        try:
            done = subprocess.run(command, capture_output=True, text=True)
            return (done.stdout + done.stderr).strip().splitlines()[0]
        except (OSError, IndexError):
            return None
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo")
                  if line.startswith("model name")), platform.machine())
    programs = [first(options.snet, "--version"), first("sslocal", "--version"),
                first("ss-redir", "-h"), first("sing-box", "version"), first("mihomo", "-v"),
                first("redsocks", "-v"), first("squid", "-v"), first("tinyproxy", "-v"),
                first("dnsmasq", "-v"), first("unbound", "-V"), first("chinadns-ng", "-V"),
                first("iperf3", "-v")]
    return (f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} x {model}, Linux "
            f"{platform.release()}, {options.rounds} rounds of {options.seconds} s"
            + (f", {options.delay} ms each way, {options.loss} % lost" if options.delay else "")
            + "\n"
            + "; ".join(program for program in programs if program) + "\n")


if __name__ == "__main__":
    main()

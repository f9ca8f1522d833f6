"""What forwarding domestic flows costs a router: without snet, with it, and with firewall.offload.

  unshare --user --map-root-user --net --mount --pid --fork --mount-proc --kill-child -- \\
      python3 -B scripts/bench/offload.py --snet target/release/snet [--rounds N] [--seconds N]

A LAN host, the machine, which masquerades, and a domestic site, each in a network namespace, with
wires of 1,500 bytes between them: no packet is larger, as none is on a real wire. The hosts share
the processor with the router, and cost the same in each state: the busy time of the whole machine
says how much less the router's part is, not how small it is. One state after the other, round by
round. A kernel without flowtables shows the first two states only (scripts/flowtables.sh).
"""

import argparse
import json
import os
import subprocess
import sys
import time

import lab
from lab import Process, run, write
from table import cell

STATES = ("without snet", "snet, offload off", "snet, offload auto")
SITE = "223.5.5.5"


def build():
    run("mount -t tmpfs tmpfs /run", check=False)
    run("ip link set lo up")
    for host, address in (("lan", "192.168.7.10"), ("site", "192.0.2.1")):
        gate = address.rpartition(".")[0] + (".1" if host == "lan" else ".2")
        run(f"ip netns add {host}")
        run(f"ip link add to-{host} gso_max_segs 1 type veth peer name eth0 netns {host}")
        run(f"ip address add {gate}/24 dev to-{host}")
        run(f"ip link set to-{host} up")
        for line in ("link set lo up", "link set eth0 gso_max_segs 1", "link set eth0 up",
                     f"address add {address}/24 dev eth0"):
            run(f"ip -n {host} {line}")
    run("ip -n lan route add default via 192.168.7.1")
    run(f"ip -n site address add {SITE}/32 dev lo")
    run("ip route add default via 192.0.2.1")
    run("sysctl -qw net.ipv4.ip_forward=1")
    run("nft add table ip home")
    run("nft add chain ip home out { type nat hook postrouting priority 100 ; }")
    run("nft add rule ip home out oifname to-site masquerade")


def busy():
    """Seconds in which any processor of the machine worked."""
    with open("/proc/stat") as file:
        user, nice, system, _idle, _wait, irq, softirq = map(int, file.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / lab.TICK


def iperf(arguments, seconds):
    line = f"ip netns exec lan iperf3 -c {SITE} -J -t {seconds} {arguments}"
    before = busy()
    report = json.loads(run(line, check=False).stdout)
    spent = busy() - before
    if "error" in report:
        raise RuntimeError(report["error"])
    return report["end"], spent


def download(seconds):
    """Gbit/s, and busy seconds of the machine for a GB."""
    end, spent = iperf("-R", seconds)
    received = end["sum_received"]
    return received["bits_per_second"] / 1e9, spent / (received["bytes"] / 1e9)


# One flow over UDP, answered until conntrack expects more of it; then the kernel's own generator
# sends on it, so that no system call is measured with it.
ANSWER = f"""
import socket, time
there = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
there.bind(("{SITE}", 4433))
there.settimeout(5)
try:
    while True:
        data, source = there.recvfrom(64)
        there.sendto(data, source)
except TimeoutError:
    # What comes now fills the buffer and is dropped there: nobody is told, and nothing wakes.
    time.sleep(600)
"""
ASK = f"""
import socket, time
here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
here.bind(("192.168.7.10", 4000))
here.settimeout(1)
answers = 0
while answers < 30:
    here.sendto(b"question", ("{SITE}", 4433))
    try:
        here.recvfrom(64)
        answers += 1
    except (TimeoutError, ConnectionRefusedError):
        pass
    time.sleep(0.1)
"""
GENERATE = """
echo add_device eth0 >/proc/net/pktgen/kpktgend_0
for line in "count COUNT" "pkt_size 60" "delay 0" "dst_min SITE" "dst_max SITE" "dst_mac GATE" \
    "src_min 192.168.7.10" "src_max 192.168.7.10" "udp_src_min 4000" "udp_src_max 4000" \
    "udp_dst_min 4433" "udp_dst_max 4433"; do
    echo "$line" >/proc/net/pktgen/eth0
done
echo start >/proc/net/pktgen/pgctrl
echo rem_device_all >/proc/net/pktgen/kpktgend_0
"""


def forwarded():
    """Packets that have come to the site."""
    return int(run("ip netns exec site cat /sys/class/net/eth0/statistics/rx_packets").stdout)


def datagrams(seconds):
    """Thousands of datagrams a second that are forwarded, and busy seconds for a million of them."""
    answer = Process(["ip", "netns", "exec", "site", "python3", "-c", ANSWER])
    time.sleep(1)
    subprocess.run(["ip", "netns", "exec", "lan", "python3", "-c", ASK], check=True)
    time.sleep(6)
    with open("/sys/class/net/to-lan/address") as file:
        script = GENERATE.replace("GATE", file.read().strip()).replace("SITE", SITE)
    before, began, arrived = busy(), time.monotonic(), forwarded()
    script = script.replace("COUNT", str(seconds * 100_000))
    subprocess.run(["ip", "netns", "exec", "lan", "sh", "-c", script], check=True)
    took, spent, arrived = time.monotonic() - began, busy() - before, forwarded() - arrived
    answer.stop()
    return arrived / took / 1e3, spent / (arrived / 1e6)


def start(snet, state):
    if state == STATES[0]:
        return None
    offload = state.rpartition(" ")[2]
    path = write("snet.toml", f"""
mode = "router"
[dns]
china = ["{SITE}"]
trusted-via = "direct"
[firewall]
backend = "nftables"
offload = "{offload}"
[control]
socket = "{lab.WORK}/control.sock"
[[proxy]]
type = "http"
server = "192.0.2.1:8080"
""")
    process = Process([snet, "-c", path])
    deadline = time.monotonic() + 60
    while " ready" not in process.said() and time.monotonic() < deadline:
        time.sleep(0.1)
    if " ready" not in process.said():
        sys.exit(process.said())
    if offload == "auto" and "flowtables" in process.said():
        process.stop()
        return False
    return process


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--snet", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    options = parser.parse_args()
    build()
    server = Process(["ip", "netns", "exec", "site", "iperf3", "-s", "-B", SITE])
    while not run("ip netns exec site ss -Hltn sport = :5201").stdout.strip():
        time.sleep(0.1)
    rows = {}
    for number in range(options.rounds):
        for state in STATES:
            process = start(os.path.abspath(options.snet), state)
            if process is False:
                continue
            measured = [(name, measure(options.seconds))
                        for name, measure in (("TCP", download), ("UDP", datagrams))]
            with open("/proc/net/nf_conntrack") as file:
                offloaded = sum("[OFFLOAD]" in line for line in file)
            if (offloaded > 0) != state.endswith("auto"):
                # On a machine that stands still for seconds the rules may be inactive.
                print(f"round {number + 1}, {state}: {offloaded} flows offloaded, not counted",
                      file=sys.stderr)
                measured = []
            for name, values in measured:
                for value, what in zip(values, ("speed", "cost")):
                    rows.setdefault((name, what), {}).setdefault(state, []).append(value)
            if process:
                process.stop()
    server.stop()
    units = {("TCP", "speed"): "download, Gbit/s", ("TCP", "cost"): "download, busy s/GB",
             ("UDP", "speed"): "datagrams of 60 bytes, 1,000/s",
             ("UDP", "cost"): "the same, busy s/million"}
    print("| what | " + " | ".join(STATES) + " |\n|---|---|---|---|")
    for key, of_states in rows.items():
        cells = []
        for state in STATES:
            values = of_states.get(state)
            cells.append(cell(values) if values else "-")
        print(f"| {units[key]} | " + " | ".join(cells) + " |")


main()

"""The little internet: two network namespaces and a link between them.

machine  203.0.113.2   the contestant and the programs that use it
internet 203.0.113.1   proxy servers and the domestic name server
         203.0.113.53  the trusted name server
         198.51.100.1  the foreign target; packets of the machine to it are dropped, so that
                       a contestant that relays nothing measures nothing
         223.5.5.5     the domestic target

The caller runs in a user, mount, pid and network namespace of its own: that one is the machine.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import time

MACHINE, SERVER, TRUSTED = "203.0.113.2", "203.0.113.1", "203.0.113.53"
TARGET, DOMESTIC = "198.51.100.1", "223.5.5.5"
TICK = os.sysconf("SC_CLK_TCK")
WORK = tempfile.mkdtemp(prefix="snet-bench-")


def run(line, check=True):
    return subprocess.run(line.split(), check=check, capture_output=True, text=True)


def write(name, text, mode=0o600):
    path = os.path.join(WORK, name)
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, mode)
    return path


def build(delay=None, loss=0):
    """`delay`: milliseconds each way; `loss`: of a hundred packets."""
    run("mount -t tmpfs tmpfs /run")
    run("ip link set lo up")
    run("ip netns add internet")
    if delay is None:
        run("ip link add uplink type veth peer name downlink netns internet")
    else:
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "long_path.py")
        Process(["python3", "-B", path, str(delay), str(loss)])
        for line in ("ip link show uplink", "ip netns exec internet ip link show downlink"):
            while run(line, check=False).returncode:
                time.sleep(0.05)
    run(f"ip address add {MACHINE}/24 dev uplink")
    run("ip address add 2001:db8:2::2/64 dev uplink nodad")
    run("ip link set uplink up")
    inside("ip link set lo up")
    inside(f"ip address add {SERVER}/24 dev downlink")
    inside("ip address add 2001:db8:2::1/64 dev downlink nodad")
    inside("ip link set downlink up")
    for address in (TRUSTED, TARGET, DOMESTIC):
        inside(f"ip address add {address}/32 dev lo")
    run(f"ip route add default via {SERVER}")
    run("ip -6 route add default via 2001:db8:2::1")
    inside(f"iptables -A INPUT -i downlink -d {TARGET} -j DROP")
    # Thousands of connections a second use up the local ports, whose time to wait is a minute, and
    # fill conntrack's table: then every contestant waits for the kernel, and nothing is measured.
    states = ("time_wait", "close", "close_wait", "last_ack", "fin_wait")
    for setting in ["net.ipv4.tcp_tw_reuse=1", "net.ipv4.ip_local_port_range=10000 65000"] + [
            f"net.netfilter.nf_conntrack_tcp_timeout_{state}=1" for state in states]:
        name, _, value = setting.partition("=")
        for prefix in ([], ["ip", "netns", "exec", "internet"]):
            subprocess.run(prefix + ["sysctl", "-qw", f"{name}={value}"], check=True)


def inside(line):
    """Runs a command in the internet."""
    return run(f"ip netns exec internet {line}")


class Process:
    """A program that runs until it is stopped."""

    def __init__(self, arguments, internet=False, log=None):
        prefix = ["ip", "netns", "exec", "internet"] if internet else []
        self.log = os.path.join(WORK, log or f"{os.path.basename(arguments[0])}.log")
        with open(self.log, "w") as output:
            # `ip netns exec` replaces itself: the pid is the program's.
            self.child = subprocess.Popen(
                prefix + arguments, stdout=output, stderr=output, stdin=subprocess.DEVNULL
            )
        self.pid = self.child.pid

    def processes(self):
        """Its own pid and those of its children."""
        with open(f"/proc/{self.pid}/task/{self.pid}/children") as file:
            return [self.pid] + [int(pid) for pid in file.read().split()]

    def cpu(self):
        """Seconds of processor time used so far, its own and the kernel's for it."""
        # clock_getcpuclockid(3): to the nanosecond, where /proc/PID/stat counts hundredths.
        return sum(time.clock_gettime((~pid << 3) | 2) for pid in self.processes())

    def memory(self):
        """KiB in RAM (VmRSS)."""
        total = 0
        for pid in self.processes():
            with open(f"/proc/{pid}/status") as file:
                total += sum(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
        return total

    def stop(self):
        self.child.terminate()
        try:
            self.child.wait(8)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()

    def said(self):
        with open(self.log) as file:
            return file.read()


def wait_tcp(address, port, internet=False, patience=8.0):
    """Waits until somebody listens there (asks the kernel's table, connects to nobody)."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        line = f"ss -Hltn sport = :{port}"
        listening = (inside(line) if internet else run(line)).stdout
        if listening.strip():
            return
        time.sleep(0.05)
    raise RuntimeError(f"nobody listens on {address}:{port}")


def have(program):
    return shutil.which(program)


def can_connect(address, port):
    try:
        socket.create_connection((address, port), timeout=1).close()
        return True
    except OSError:
        return False

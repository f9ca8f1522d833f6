#!/bin/sh
# The first minute, as scripts/pictures.sh records it: types each command and runs it.
# first_minute.sh FOLDER: the folder with snet and a config.toml.
set -eu
cd "$1"
PATH=$PWD:$PATH

prompt() { printf '\033[1;34mrouter\033[0m:\033[1;36m~\033[0m# '; }

# Types what stands in $1, and runs it.
run() {
    prompt
    typed=$1
    while [ -n "$typed" ]; do
        rest=${typed#?}
        printf %s "${typed%"$rest"}"
        typed=$rest
        sleep 0.03
    done
    printf '\n'
    sleep 0.2
    eval "$1" || true
    sleep "${2:-1.5}"
}

run 'cat config.toml' 2
run 'snet check -c config.toml' 3
run 'snet -c config.toml >log 2>&1 &' 2
run 'tail -n 2 log' 2
run 'curl -sI http://foreign.example/ | head -n 1' 1
run 'snet explain foreign.example' 4
run 'snet status' 4
run 'curl -so video http://video.example/ &' 1
run 'timeout --foreground 5 snet top' 1
run 'kill $(pidof snet); wait' 1
run 'nft list ruleset | grep -c snet' 2
prompt

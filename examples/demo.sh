#!/usr/bin/env bash
# Shows the mill at work: no key, no cost, nothing but this machine. `make demo` runs it.
# The answers stay in ./demo (or $DEMO_FOLDER); everything else goes when it ends.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
BIN=$(cd "${BIN:-.venv/bin}" && pwd)
folder=${DEMO_FOLDER:-$here/../demo}
mkdir -p "$folder"
home=$(mktemp -d "${TMPDIR:-/tmp}/batchmill-demo.XXXXXX")
sandbox= running=

# Of your own settings nothing counts here: no database, no broker, no key.
for name in $(compgen -e); do
  case $name in OPENAI_* | BATCHMILL_* | DATABASE_URL | BROKER_URL | REDIS_URL) unset "$name" ;; esac
done
export BATCHMILL_HOME=$home

stop() {
  [ -z "$1" ] || ! kill "$1" 2>/dev/null || for _ in $(seq 200); do
    kill -0 "$1" 2>/dev/null || return 0
    sleep 0.05
  done
}
clean_up() { stop "$running"; stop "$sandbox"; rm -rf "$home"; }
trap clean_up EXIT
trap 'exit 130' INT TERM

cd "$folder"
rm -f ./*.jsonl
cp "$here/questions.jsonl" "$here/replies.jsonl" .

witness() { "$BIN/python" -P "$here/witness.py" "$@"; }
fail() { echo "demo: not as promised: $*" >&2; exit 1; }
expect() { case $1 in *"$2"*) ;; *) fail "\"$2\" is missing" ;; esac; }

# The sandbox speaks OpenAI's wire. It replays replies.jsonl, and is no model.
start_sandbox() {
  echo '$ batchmill sandbox --port 0 --latency 0.5 --replies replies.jsonl &'
  : >"$home/url" # that of the one before must not be taken for it
  "$BIN/batchmill" sandbox --port 0 --latency 0.5 --replies replies.jsonl >"$home/url" 2>"$home/sandbox.log" &
  sandbox=$!
  for _ in $(seq 200); do
    [ ! -s "$home/url" ] || break
    kill -0 "$sandbox" 2>/dev/null || fail "the sandbox did not start: $(cat "$home/sandbox.log")"
    sleep 0.05
  done
  OPENAI_BASE_URL=$(cat "$home/url")
  export OPENAI_BASE_URL
  echo "$OPENAI_BASE_URL"
}

run() {
  echo "\$ batchmill run $*"
  local status=0
  said=$("$BIN/batchmill" run "$@" 2>&1) || status=$?
  echo "$said"
  [ "$status" = 0 ] || fail "exit status $status"
}

echo "# 1. Forty requests; six of them repeat another one."
start_sandbox
run questions.jsonl -o answers.jsonl
expect "$said" "40 of 40 answered"
expect "$said" "34 calls, 6 from the cache"
echo "result:    $(witness complete answers.jsonl questions.jsonl)"
echo "line 11:   $(witness answer answers.jsonl 11)"
billed=$(witness bill "$OPENAI_BASE_URL")
echo "provider:  $billed"
expect "$billed" "34 calls"
expect "$said" "${billed#34 calls, }"

echo
echo "# 2. The same again."
run questions.jsonl -o answers.jsonl
expect "$said" "0 calls, 40 from the cache, \$0"
after=$(witness bill "$OPENAI_BASE_URL")
echo "provider:  $after (unchanged)"
[ "$after" = "$billed" ] || fail "the provider was called again"
stop "$sandbox"

echo
echo "# 3. kill -9 of the command, its worker and its broker half-way, then the same command once more."
start_sandbox
again=(questions.jsonl -o again.jsonl --cache off --concurrency 8)
echo "\$ batchmill run ${again[*]} &"
"$BIN/batchmill" run "${again[@]}" >/dev/null 2>&1 &
running=$!
disown "$running" # or bash reports its death
witness kill "$running" "$OPENAI_BASE_URL" 24 || fail "the command could not be killed half-way"
running=
echo "killed:    $(witness bill "$OPENAI_BASE_URL") so far"
[ ! -e again.jsonl ] || fail "a result file stands there before the end"
run "${again[@]}"
expect "$said" "40 of 40 answered"
echo "result:    $(witness complete again.jsonl questions.jsonl)"
echo "database:  $(witness unknown "$home/batchmill.db")"
billed=$(witness bill "$OPENAI_BASE_URL")
echo "provider:  $billed"
on_the_books=$(sed -n 's/.*: \([0-9]*\) calls, .*/\1/p' <<<"$said")
[ "${billed%% *}" -le "$on_the_books" ] || fail "a call was made that is not on the books"

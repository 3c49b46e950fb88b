#!/usr/bin/env bash
# Measures other programs and widthwise in turns, round by round, and prints the table of ratios.
#
#   PEERS_HOME=… scripts/bench/compare.sh PEERS [CASE…]
#
# PEERS is the folder with the other programs' run.py (`run.py CASE --rounds 1` prints a result line
# for each of them); PEERS_HOME is where they are installed. Without cases: those in targets.csv.
#
# ROUNDS=5    rounds
# TIME=3      seconds of each measurement
# THREADS=2   threads of widthwise, as many as the others are given
# OUT=runs/bench/compare   folder for the result lines; those of an earlier comparison are replaced
# PAGE=       a page to write the tables into, for instance scripts/bench/README.md
set -euo pipefail
cd "$(dirname "$0")/../.."

if [ $# -lt 1 ] || [ ! -f "$1/run.py" ]; then
  sed -n '2,14p' "$0" | sed 's/^# \{0,1\}//' >&2
  exit 2
fi
: "${PEERS_HOME:?says where the other programs are installed}"
peers=$1
shift
if [ $# -eq 0 ]; then
  set -- $(grep -v '^#' scripts/bench/targets.csv | tail -n +2 | cut -d, -f1 | uniq)
fi
rounds=${ROUNDS:-5} seconds=${TIME:-3} threads=${THREADS:-2} out=${OUT:-runs/bench/compare}
widthwise=${WIDTHWISE:-target/release/widthwise}
[ -x "$widthwise" ] || { echo "error: no $widthwise; build it with cargo build --release" >&2; exit 1; }

mkdir -p "$out"
: > "$out/peers.jsonl"
: > "$out/widthwise.jsonl"
for ((round = 1; round <= rounds; round++)); do
  for case in "$@"; do
    echo "round $round of $rounds: $case" >&2
    PYTHONDONTWRITEBYTECODE=1 python3 "$peers/run.py" "$case" --rounds 1 --seconds "$seconds" >> "$out/peers.jsonl"
    "$widthwise" bench "$case" --seconds "$seconds" --threads "$threads" --json >> "$out/widthwise.jsonl"
  done
done
"$widthwise" bench --from "$out/widthwise.jsonl" --peers "$out/peers.jsonl" ${PAGE:+--page "$PAGE"}

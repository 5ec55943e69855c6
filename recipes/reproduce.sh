#!/usr/bin/env bash
# Run the ablations of both papers at the size of this machine, and write their tables beside the published ones.
#
#   recipes/reproduce.sh WORK [DATA]
#
# WORK     a folder for what is made on the way; of recipes/default-models.sh the pairs are taken as they are. What is done
#          in it is not done again: each arm and seed has a file of its own.
# DATA     a folder with cosqa/, which is kept out of the pairs and measured on; without it only mined queries are asked.
# MIRROR   a folder with a clone of every repository as MIRROR/owner/name; without it they are cloned from their addresses.
# BENCH    checkouts of benchmark repositories, whose functions are kept out of the pairs too.
# PYTHON   the interpreter of an environment with Dowse's extras data, train and evaluate; python3 if unset.
# RESULTS  where the records and papers.md are written; results/ of this repository if unset.
# JUDGE    an OpenAI-compatible address or a cross-encoder's folder that judges suspects; every suspect rises if unset.
# JUDGE_MODEL  the name of the judge at that address, for which the extra llm is needed too; a folder has none.
# ABLATION, CAUSES, RANKER  further arguments for benchmarks/ablation.py, order_causes.py and ranker_table.py, which count
#          before those below: ABLATION="--queries 500 --seeds 1" CAUSES="--queries 500 --seeds 1 --epochs 1"
#          RANKER="--queries 200 --seeds 1" tries the whole path.
#
# With a GPU all repositories are mined, 150,000 queries are trained on in an arm of OASIS and 60,000 in one of R2PS, with
# all its sweeps, which are measured on dev; without one every eighth repository and those of configs/test.txt, at most
# 15,000 queries an arm of OASIS, and 80 steps of 16 an arm of R2PS. Neither size has been run from end to end: what
# results/papers.md holds was made with ABLATION="--base static --epochs 4", whose table of token vectors trains in minutes,
# then ABLATION="--document-tokens 64 --learning-rate 1e-4 --frozen-layers 3 --asked 1000 --ranked 3000" without CoSQA, and
# RANKER="--steps 64 --asked 150 --seeds 1".
set -euo pipefail
work=${1:?"name a folder to work in: recipes/reproduce.sh WORK [DATA]"}
data=${2:-}
repository=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
results=${RESULTS:-$repository/results}
mkdir -p "$work" "$results"
# shellcheck source=recipes/mining.sh
source "$repository/recipes/mining.sh"

retriever=static
if "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
  every=1
  ablation=(--queries 150000 --document-tokens 256)
  ranker=(--queries 60000 --batch-size 32 --negatives 31 --export)
  sweeps=(distilled window temperature input labels "in batch")
else
  every=8
  ablation=(--queries 15000 --document-tokens 128)
  ranker=(--config "$repository/configs/tiny.toml" --queries 40000 --steps 80 --batch-size 16 --negatives 7 --asked 200
    --export)
  sweeps=()
fi
if [ -f "$work/retriever/modules.json" ]; then retriever=$work/retriever; fi
read -ra more_ablation <<<"${ABLATION:-}"
read -ra more_causes <<<"${CAUSES:-}"
read -ra more_ranker <<<"${RANKER:-}"

asked=()
if [ -n "$data" ]; then asked+=(--cosqa "$data/cosqa"); fi
if [ ! -f "$work/pairs/manifest.json" ]; then mine_pairs "$work" "$data" "$every"; fi

# Suspects by both selectors, so that each arm takes its own; those of the second are not asked for.
"$python" -m dowse label "$work/pairs" -o "$work/labelled-both" --in-groups --negatives 7 --ast-cutoff 0.2 \
  ${JUDGE:+--judge "$JUDGE"} ${JUDGE_MODEL:+--judge-model "$JUDGE_MODEL"}
"$python" -m dowse label "$work/pairs" -o "$work/labelled-15" --in-groups --negatives 15 --ast-cutoff 0

"$python" "$repository/benchmarks/ablation.py" "$work/labelled-both" --pairs "$work/pairs" --work "$work/ablation" \
  --results "$results" ${asked[@]+"${asked[@]}"} "${ablation[@]}" ${more_ablation[@]+"${more_ablation[@]}"}
"$python" "$repository/benchmarks/order_causes.py" "$work/labelled-both" "$work/labelled-15" --pairs "$work/pairs" \
  --work "$work/order-causes" --results "$results" ${more_causes[@]+"${more_causes[@]}"}
rank() {
  "$python" "$repository/benchmarks/ranker_table.py" "$work/labelled-both" --pairs "$work/pairs" \
    --work "$work/ranker-table" --retriever "$retriever" --results "$results" ${asked[@]+"${asked[@]}"} \
    "${ranker[@]}" ${more_ranker[@]+"${more_ranker[@]}"} "$@"
}
rank
if [ ${#sweeps[@]} -gt 0 ]; then rank --sweep "${sweeps[@]}"; fi
"$python" "$repository/benchmarks/papers.py" --results "$results"

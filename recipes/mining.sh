# Sourced by the recipes that mine, so that all of them mine in the same way.
# shellcheck shell=bash

# mine_pairs WORK DATA EVERY: mine the repositories of configs/repositories.txt into WORK/pairs.
#
# WORK   the recipe's folder; repositories.txt in it says what is mined, a line `place commit owner/name` each.
# DATA   a folder with cosqa/, whose code is kept out of the pairs; may be empty.
# EVERY  mine every so many-th repository (1: all), and those of configs/test.txt in any case.
#
# Reads MIRROR, BENCH and PYTHON, as the recipes say. Only the repositories named are for dev and test: of the others none
# is set aside.
mine_pairs() {
  local work=$1 data=$2 every=$3 repository address commit name place folder
  local benchmarks=()
  repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  grep -v '^#' "$repository/configs/repositories.txt" | while read -r address commit; do
    name=${address#https://github.com/}
    place=$address
    if [ -n "${MIRROR:-}" ]; then place=$MIRROR/$name; fi
    echo "$place $commit $name"
  done | awk -v every="$every" 'NR == FNR { test[$1] = 1; next } $NF in test || FNR % every == 0' \
    "$repository/configs/test.txt" - >"$work/repositories.txt"
  if [ -n "$data" ]; then benchmarks+=(--benchmark "$data/cosqa/code_idx_map_list_merged.json"); fi
  if [ -n "${BENCH:-}" ]; then
    for folder in "$BENCH"/*/; do benchmarks+=(--benchmark "$folder"); done
  fi
  "${PYTHON:-python3}" -m dowse mine "$work/repositories.txt" -o "$work/pairs" --license permissive \
    --source docstrings --source classes --exclude-list "$repository/configs/reserved.txt" \
    ${benchmarks[@]+"${benchmarks[@]}"} \
    --dev "$repository/configs/dev.txt" --test "$repository/configs/test.txt" --dev-share 0 --test-share 0
}

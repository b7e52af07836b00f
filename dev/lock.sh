#!/bin/bash
# Compiles requirements/*.txt: exact versions with hashes. Versions that still fit pyproject.toml stay;
# UPGRADE=1 takes the newest.
. "$(dirname "$0")/cluster/lib.sh"

main() {
  cd "$root"
  export PATH=$PATH:$cluster/uv/bin
  compile operator pyproject.toml --extra operator
  compile trainer pyproject.toml --extra trainer
  compile dev pyproject.toml --extra dev --extra local --extra operator --constraints requirements/trainer.txt
  compile build requirements/build.in
  compile parity requirements/parity.in --no-deps
}

compile() {
  local options=(--generate-hashes --no-header --quiet --python-version 3.11 --python-platform x86_64-manylinux_2_28)
  [ -z "${UPGRADE:-}" ] || options+=(--upgrade)
  step "Locking requirements/$1.txt" uv pip compile "${options[@]}" "${@:2}" --output-file "requirements/$1.txt"
}

main

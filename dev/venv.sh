#!/bin/bash
# Makes .venv: the development tools, the project itself (editable) and the trainer's dependencies for the CPU.
# Made again when a lock file changes.
. "$(dirname "$0")/cluster/lib.sh"
. "$here/packages.sh"

main() {
  cd "$root"
  mkdir -p "$cluster"
  exec 9>"$cluster/venv.lock"
  flock 9   # two makes at once make one
  unless_made dependencies install_dependencies requirements/{dev,trainer,build,parity}.txt trainer_image/build dev/venv.sh
  unless_made project install_project pyproject.toml
}

# unless_made NAME FUNCTION PATH...: calls the function unless it was, with the same content of the paths.
unless_made() {
  local stamp function=$2
  stamp=.venv/.$1-$(content_tag "${@:3}")
  [ ! -e "$stamp" ] || return 0
  put_uv_on_path
  "$function"
  rm -f ".venv/.$1-"*
  touch "$stamp"
}

install_dependencies() {
  install_packages g++=g++ readelf=binutils git=git
  command -v python3.11 >/dev/null || die "python3.11 is missing: install it, requirements/*.txt are compiled for it"
  rm -rf .venv
  uv venv --quiet --python python3.11 .venv
  step "Installing the development tools" uv pip install --python .venv --require-hashes --no-deps \
    --requirements requirements/dev.txt
  step "Installing the trainer's libraries, compiling DeepSpeed's CPU code" \
    trainer_image/build/install.sh .venv requirements/trainer.txt cpu
  step "Installing the trainer to compare with" uv pip install --python .venv --require-hashes --no-deps \
    --requirements requirements/parity.txt
  step "Installing Triton apart, for the tests of kernels in its interpreter" install_triton
  step "Compiling the libraries' Python code" compile_libraries
}

# Beside the libraries: torch for CPUs takes another way through its imports where it finds Triton.
install_triton() {
  .venv/bin/python trainer_image/build/select_lock.py requirements/trainer.txt --only triton >.venv/triton.txt
  uv pip install --python .venv --target .venv/triton --require-hashes --no-deps --requirements .venv/triton.txt
}

# Where Python may not write bytecode, each of the tests' many processes would compile torch and transformers anew.
compile_libraries() {
  .venv/bin/python -m compileall -q -j 0 .venv/lib/python3.11/site-packages || true   # some files are for other versions
}

install_project() {
  step "Installing the project" uv pip install --python .venv --no-deps --editable .
}

put_uv_on_path() {
  export PATH=$PATH:$cluster/uv/bin
  ! command -v uv >/dev/null || return 0
  python3.11 -m venv "$cluster/uv"
  step "Installing uv" "$cluster/uv/bin/pip" install --require-hashes --requirement requirements/build.txt
}

main

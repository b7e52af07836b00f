#!/bin/sh
# install.sh VENV LOCK ACCELERATOR: the trainer's dependencies, for the image and for development alike.
# cpu: without NVIDIA's packages. cuda: all that the lock names. With both, DeepSpeed's own CPU code is compiled here, so
# that a pod needs no compiler: Adam for an optimizer on the host, and for cpu the ranks' shared memory.
set -eu
here=$(dirname "$0")
venv=$1 lock=$2 accelerator=$3
python=$venv/bin/python
part=$(mktemp)
trap 'rm -f "$part"' EXIT

install() {   # the packages in $part, exactly these
  uv pip install --quiet --python "$python" --require-hashes --no-deps --requirements "$part" "$@"
}

case $accelerator in
  cpu)
    "$python" "$here/select_lock.py" "$lock" --without deepspeed triton 'nvidia-*' 'cuda-*' >"$part"
    install
    "$python" "$here/cuda_stand_ins.py" "$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
    export DS_BUILD_SHM_COMM=1
    ;;
  cuda)
    "$python" "$here/select_lock.py" "$lock" --without deepspeed >"$part"
    install
    ;;
  *)
    echo "ACCELERATOR is cpu or cuda, not '$accelerator'" >&2
    exit 1
    ;;
esac

export DS_ACCELERATOR=cpu DS_BUILD_CPU_ADAM=1
"$python" "$here/select_lock.py" "$lock" --only deepspeed >"$part"
# What is compiled depends on torch and the accelerator: the settings keep uv's cache from mixing them up.
torch=$("$python" -c 'from importlib.metadata import version; print(version("torch"))')
install --no-build-isolation --config-setting "torch=$torch" --config-setting "accelerator=$accelerator" \
  --config-setting=--build-option=build_ext --config-setting=--build-option=--parallel=2   # both parts side by side

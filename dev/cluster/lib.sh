# Sourced by the scripts beside it: where things are, errors, timed steps, daemons and waits.
set -euo pipefail
exec </dev/null   # the same behaviour with a terminal, a pipe or a closed standard input

here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
root=$(realpath "$here/../..")
cluster=${CLUSTER_FOLDER:-$root/.cluster}
bin=$cluster/bin                 # binaries
cache=$cluster/cache             # survives cluster-down: images, what builds keep
state=$cluster/state             # all that a running cluster writes
volumes=$cluster/volumes         # what its volumes hold
kubeconfig=$cluster/kubeconfig
owner_file=/run/qlora-cluster    # names the folder of this machine's cluster

host_ip=172.31.0.1
registry=$host_ip:5000
buildkit_run=/run/qlora-buildkit

# shellcheck source=versions.env
. "$here/versions.env"
export PATH=$bin:$PATH KUBECONFIG=$kubeconfig

die() {
  echo "$(basename "$0"): $*" >&2
  exit 1
}

# step MESSAGE COMMAND...: says what is being done, how long so far, and how long it took. The command's own output goes
# to a log, whose end is shown when the command fails.
step() {
  local message=$1 started=$SECONDS status log ticker
  shift
  mkdir -p "$cache/log"
  log=$cache/log/$(basename "$0" .sh)-$(printf '%s' "${message,,}" | tr -cs 'a-z0-9' '-' | cut -c1-40).log
  echo "$message ..."
  show_elapsed_time "$message" &
  ticker=$!
  set +e   # not `if "$@"`: that would switch off -e inside the command as well
  (set -e; "$@") >"$log" 2>&1
  status=$?
  set -e
  kill "$ticker" 2>/dev/null || true
  wait "$ticker" 2>/dev/null || true
  if [ $status -ne 0 ]; then
    tail -n 25 "$log" >&2
    die "failed after $((SECONDS - started)) s: $message (all of it: $log)"
  fi
  echo "$message: $((SECONDS - started)) s"
}

# Every second on a terminal, every half minute elsewhere; ends with the script, however that ends.
show_elapsed_time() {
  local elapsed=0
  while sleep 1 && kill -0 $$ 2>/dev/null; do
    elapsed=$((elapsed + 1))
    if [ -t 1 ]; then
      printf '%s ... %d s\r' "$1" "$elapsed"
    elif [ $((elapsed % 30)) = 0 ]; then
      echo "$1 ... $elapsed s so far"
    fi
  done
}

# command_line PID: empty when there is no such process.
command_line() {
  tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline" || true
}

# alive PIDFILE: a process that we started, not another one that was given the same number later.
alive() {
  local pid
  pid=$(cat "$1" 2>/dev/null) || return 1
  command_line "$pid" | grep -qF "$state/"
}

# daemon FOLDER NAME COMMAND...: starts it unless it runs. It outlives the caller: a session of its own, none of the
# caller's descriptors. FOLDER/NAME.pid, FOLDER/log/NAME.log.
daemon() {
  local folder=$1 name=$2 descriptor
  shift 2
  mkdir -p "$folder/log"
  if alive "$folder/$name.pid"; then return 0; fi
  (
    for descriptor in /proc/self/fd/*; do
      descriptor=${descriptor##*/}
      [ "$descriptor" -le 2 ] || eval "exec $descriptor>&-"
    done
    exec setsid "$@" </dev/null >"$folder/log/$name.log" 2>&1
  ) &
  echo $! >"$folder/$name.pid"
  while kill -0 $! 2>/dev/null && ! alive "$folder/$name.pid"; do   # until the shell above has become that command
    sleep 0.05
  done
}

# wait_for SECONDS WHAT FOLDER NAME COMMAND...: until COMMAND succeeds. When it never does, or the daemon NAME dies,
# the end of the daemon's log is shown.
wait_for() {
  local deadline=$((SECONDS + $1)) what=$2 folder=$3 name=$4
  shift 4
  until timeout 5 "$@" >/dev/null 2>&1; do
    if ! alive "$folder/$name.pid"; then
      tail -n 25 "$folder/log/$name.log" >&2
      die "no $what: $name died (its log: $folder/log/$name.log)"
    fi
    if [ $SECONDS -ge $deadline ]; then
      tail -n 25 "$folder/log/$name.log" >&2
      die "no $what in time (log: $folder/log/$name.log)"
    fi
    sleep 0.2
  done
}

# content_tag PATH...: 12 hexadecimal digits that change with any file below the paths.
content_tag() {
  find "$@" -type f -not -path '*/__pycache__/*' -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c1-12
}

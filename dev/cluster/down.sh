#!/bin/bash
# down.sh: ends the cluster and removes what it left on this machine: processes, containers, mounts, network namespaces,
# interfaces, cgroups, kernel settings, state. Works as well when pid files are lost. Caches and binaries stay.
# down.sh NUMBER...: pulls the plug of these nodes; their files stay, `node.sh NUMBER` boots them again.
. "$(dirname "$0")/lib.sh"
. "$here/network.sh"

main() {
  local number name
  if [ $# -gt 0 ]; then
    for number; do
      [[ $number =~ ^[1-9][0-9]?$ ]] || die "a node's number is 1 to 99, not '$number'"
      end_node "node-$number"
    done
    return
  fi
  for name in $(nodes); do end_node "$name"; done
  end_processes control_plane_processes TERM
  unmount_below "$state/" "$cache/buildkit/"
  remove_cgroups buildkit
  ip link del br-nodes 2>/dev/null || true
  nft delete table netdev cluster 2>/dev/null || true   # packet loss that a test may have added
  [ ! -s "$saved_settings" ] || sysctl -q -p "$saved_settings" || true
  remove_shared_folders
  rm -rf --one-file-system "$state" "$volumes" "$buildkit_run"
  rm -f "$kubeconfig" "$owner_file"
  echo "The cluster is down: $SECONDS s"
}

# All that any trace is left of, also of a cluster whose state was deleted.
nodes() {
  local trace
  for trace in "$state"/node-* /run/node-[0-9]* /run/netns/node-[0-9]*; do
    [ ! -e "$trace" ] || basename "$trace"
  done | sort -u
}

end_node() {
  local name=$1
  end_processes "node_processes $name" KILL
  remove_sockets_and_results "/run/$name" "pods-$name"
  unmount_below "$state/$name/" "/run/$name/"
  ip link del "v$name" 2>/dev/null || true
  [ ! -e "/run/netns/$name" ] || ip netns del "$name"
  remove_cgroups "$name"
  rm -rf "/run/$name"
  rm -f "$state/$name"/*.pid
  remove_log_links "$state/$name/"
}

# Processes are found by what they are and by our folders in their command lines: never by a name alone.
processes_by_command_line() {   # NAMES FOLDERS, both regular expressions
  local process
  for process in /proc/[0-9]*; do
    [[ $(cat "$process/comm" 2>/dev/null) =~ ^($1) ]] || continue
    command_line "${process#/proc/}" | grep -qE "(^|[ =])($2)" || continue
    echo "${process#/proc/}"
  done
}

node_processes() {
  processes_by_command_line 'containerd|kubelet|kube-proxy|nsenter|setsid|runc' "$state/$1/|/run/$1/containerd.sock"
  cgroup_processes "$1"   # what runs in containers
}

control_plane_processes() {
  processes_by_command_line 'etcd|kube-|coredns|registry|buildkit|setsid' "$state/"
  cgroup_processes buildkit   # build steps outlive a buildkitd that was killed
}

cgroups() {
  local folder
  for folder in /sys/fs/cgroup/"$1" /sys/fs/cgroup/*/"$1"; do
    [ ! -d "$folder" ] || echo "$folder"
  done
}

cgroup_processes() {
  local folder
  for folder in $(cgroups "$1"); do
    find "$folder" -name cgroup.procs -exec cat {} + 2>/dev/null || true
  done | sort -un
}

remove_cgroups() {
  local folder
  for folder in $(cgroups "$1"); do
    for _ in {1..5}; do   # the kernel lets go of a killed process a moment later
      if find "$folder" -depth -type d -exec rmdir {} + 2>/dev/null; then break; fi
      sleep 0.1
    done
  done
}

# end_processes LIST-FUNCTION SIGNAL: and KILL after 4 seconds. A supervisor may start another one meanwhile: look again.
end_processes() {
  local list=$1 signal=$2 deadline=$((SECONDS + 20)) gentle=$((SECONDS + 4)) found sent=
  while true; do
    found=$($list)
    [ -n "$found" ] || return 0
    [ $SECONDS -lt $deadline ] || die "these processes do not end: $(xargs <<<"$found")"
    [ $SECONDS -lt $gentle ] || signal=KILL
    # shellcheck disable=SC2086
    [ "$sent" = TERM ] && [ "$signal" = TERM ] || kill -"$signal" $found 2>/dev/null || true
    sent=$signal
    sleep 0.1
  done
}

unmount_below() {
  local folder mount
  for folder; do
    for mount in $(awk -v folder="$folder" 'index($2, folder) == 1 {print $2}' /proc/self/mounts | sort -r); do
      umount -l "$mount" || die "cannot unmount $mount"
    done
  done
}

# Some folders cannot be configured: what our containers have there goes one by one.
remove_sockets_and_results() {   # RUN-FOLDER POD-NETWORK
  local result container
  { grep -rhosE '/run/containerd/s/[0-9a-f]+' "$1"/io.containerd.runtime.v2.task || true; } | xargs -r rm -f
  for result in /var/lib/cni/results/"$2"-*-eth0; do
    container=${result#"/var/lib/cni/results/$2-"}
    rm -f "$result" "/var/lib/cni/results/cni-loopback-${container%-eth0}-lo"
  done
}

# These are left when somebody else has something in them.
remove_shared_folders() {
  { grep -lsF "$cache/buildkit/" /run/runc/*/state.json || true; } | xargs -r dirname | xargs -r rm -rf
  ls /run/netns/* >/dev/null 2>&1 || umount /run/netns 2>/dev/null || true
  processes_by_command_line kubelet . | grep -q . || rm -f /var/lib/kubelet/device-plugins/kubelet.sock
  rmdir /run/netns /var/lib/kubelet/{device-plugins,} /var/lib/cni/{results,} /run/containerd/{s,} /run/runc \
    2>/dev/null || true
}

# kubelets link their containers' logs from one folder of the machine, whatever their configuration says.
remove_log_links() {
  local link
  for link in /var/log/containers/*.log; do
    [[ $(readlink "$link") != "$1"* ]] || rm -f "$link"
  done
}

main "$@"

#!/bin/bash
# node.sh NUMBER...: adds node-NUMBER to the running control plane: a network namespace with a containerd, kubelet,
# kube-proxy and pod network of its own. What runs is left, what died is started. KUBELET_FLAGS adds flags.
. "$(dirname "$0")/lib.sh"
. "$here/certificates.sh"
. "$here/node-config.sh"

main() {
  [ $# -gt 0 ] || die "which nodes? For example: node.sh 1 2"
  [ -s "$state/kubeconfig" ] || die "there is no control plane: run control-plane.sh first"
  if [ $# -gt 1 ]; then
    boot_side_by_side "$@"
  else
    boot "$1"
  fi
}

boot_side_by_side() {
  local number process processes=() failed=0
  for number; do
    bash "$here/node.sh" "$number" &
    processes+=($!)
  done
  for process in "${processes[@]}"; do wait "$process" || failed=1; done
  exit $failed
}

boot() {
  [[ $1 =~ ^[1-9][0-9]?$ ]] || die "a node's number is 1 to 99, not '$1'"
  number=$1
  name=node-$number
  ip=172.31.0.$((10 + number))
  pod_network=10.244.$number.0/24
  folder=$state/$name
  run=/run/$name   # short, for Unix sockets
  mkdir -p "$folder"/{cni,log,kubelet,pod-logs} "$run"
  # never `ip netns exec`: it mounts a new /sys, without the cgroups
  inside=(nsenter --net="/run/netns/$name")
  create_network
  create_cgroups
  create_credentials
  write_containerd_config
  write_pod_network_config
  write_kubelet_config
  start_containerd
  start_kubelet_and_proxy
  echo "$name ready: $SECONDS s"
}

create_network() {
  [ -e "/run/netns/$name" ] || ip netns add "$name"
  ip link show "v$name" >/dev/null 2>&1 || ip link add "v$name" type veth peer name eth0 netns "$name"
  ip link set "v$name" master br-nodes up
  "${inside[@]}" ip link set lo up
  "${inside[@]}" ip addr replace "$ip/24" dev eth0
  "${inside[@]}" ip link set eth0 up
  "${inside[@]}" ip route replace default via "$host_ip"
  "${inside[@]}" sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
  ip route replace "$pod_network" via "$ip"
}

# Kubelets that shared a cgroup root would remove each other's pods: each has its own, which it wants to find there.
create_cgroups() {
  local controller file
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then   # cgroup v2
    mkdir -p "/sys/fs/cgroup/$name"
    return
  fi
  for controller in /sys/fs/cgroup/*/; do
    [ ! -e "$controller/cgroup.procs" ] || mkdir -p "$controller$name"
  done
  for file in cpus mems; do   # a new cpuset is empty, and nothing can run in it
    [ ! -e "/sys/fs/cgroup/cpuset/$name" ] ||
      cat "/sys/fs/cgroup/cpuset/cpuset.$file" >"/sys/fs/cgroup/cpuset/$name/cpuset.$file"
  done
}

create_credentials() {
  create_certificate "$name" "/O=system:nodes/CN=system:node:$name" "DNS:$name,IP:$ip"
  create_kubeconfig "$name" "$folder/kubeconfig"
  create_kubeconfig kube-proxy "$folder/kube-proxy.kubeconfig"
}

start_containerd() {
  daemon "$folder" containerd "${inside[@]}" containerd --config "$folder/containerd.toml"
  wait_for 30 containerd "$folder" containerd ctr -a "$run/containerd.sock" version
}

start_kubelet_and_proxy() {
  # One kubelet after the other: all listen at the same, fixed path at first, and two at once would get in each other's way.
  exec 8>"$state/kubelet.lock"
  flock 8
  # shellcheck disable=SC2086
  daemon "$folder" kubelet "${inside[@]}" kubelet --config="$folder/kubelet.yaml" --kubeconfig="$folder/kubeconfig" \
    --root-dir="$folder/kubelet" --cert-dir="$folder/kubelet/pki" --hostname-override="$name" --node-ip="$ip" \
    ${KUBELET_FLAGS:-}
  daemon "$folder" kube-proxy "${inside[@]}" kube-proxy --kubeconfig="$folder/kube-proxy.kubeconfig" \
    --proxy-mode=nftables --cluster-cidr=10.244.0.0/16 --hostname-override="$name" --conntrack-max-per-core=0
  wait_for 60 "Ready $name" "$folder" kubelet kubectl wait --for=condition=Ready --timeout=4s "node/$name"
  exec 8>&-
  alive "$folder/kube-proxy.pid" || die "kube-proxy died: $(tail -n 20 "$folder/log/kube-proxy.log")"
}

main "$@"

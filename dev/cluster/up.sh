#!/bin/bash
# Boots the cluster: a control plane, a registry and two nodes. A healthy one is left as it is; what a killed run left
# behind is removed first.
. "$(dirname "$0")/lib.sh"
. "$here/packages.sh"
. "$here/network.sh"
. "$here/registry.sh"
. "$here/builder.sh"
. "$here/base-image.sh"

main() {
  check_machine
  mkdir -p "$cluster"
  exec 9>"$cluster/lock"
  flock -w 1800 9 || die "another cluster-up has been at work for half an hour"
  if healthy; then
    echo "The cluster is up: export KUBECONFIG=$kubeconfig"
    return
  fi
  remove_leftovers
  install_packages runc=runc /usr/lib/cni/bridge=containernetworking-plugins ip=iproute2 nft=nftables \
    iptables=iptables conntrack=conntrack socat=socat busybox=busybox-static curl=curl openssl=openssl
  "$here/binaries.sh"
  registry_start
  busybox_image
  echo "$registry/$busybox_image" >"$state/pause-image"
  "$here/control-plane.sh"
  "$here/node.sh" 1 2
  echo "The cluster is up: $SECONDS s; export KUBECONFIG=$kubeconfig"
}

check_machine() {
  [ "$(id -u)" = 0 ] || die "a cluster needs root, for network namespaces and mounts: run it as root"
  [ ${#cluster} -le 60 ] || die "$cluster is too long for the Unix sockets in it: move the checkout to a shorter path"
}

healthy() {
  local pid_file
  for pid_file in "$state"/{registry,etcd,apiserver,controller-manager,scheduler,coredns}.pid \
    "$state"/node-{1,2}/{containerd,kubelet,kube-proxy}.pid; do
    alive "$pid_file" || return 1
  done
  kubectl wait --for=condition=Ready --timeout=20s node/node-1 node/node-2 >/dev/null 2>&1
}

# Addresses and names are fixed, so what another checkout's cluster left is in the way too.
remove_leftovers() {
  local owner
  owner=$(cat "$owner_file" 2>/dev/null || true)
  if [ -n "$owner" ] && [ "$owner" != "$cluster" ]; then
    if kubectl --kubeconfig "$owner/kubeconfig" --request-timeout=5s get --raw /readyz >/dev/null 2>&1; then
      die "the cluster of another checkout is running ($owner): \`make cluster-down\` there first"
    fi
    CLUSTER_FOLDER=$owner "$here/down.sh"
  fi
  "$here/down.sh"
}

main

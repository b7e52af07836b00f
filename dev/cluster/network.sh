# Sourced. The bridge that joins the host and the nodes, and the kernel settings that nodes need.

saved_settings=$state/sysctls   # as they were before: down.sh puts them back

join_host_to_bridge() {
  ip link show br-nodes >/dev/null 2>&1 || ip link add br-nodes type bridge
  ip addr replace "$host_ip/24" dev br-nodes
  ip link set br-nodes up
}

set_kernel_parameters() {
  # kubelets change most of these by themselves
  [ -f "$saved_settings" ] || sysctl -e net.ipv4.ip_forward fs.inotify.max_user_instances vm.overcommit_memory \
    vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys kernel.keys.root_maxbytes >"$saved_settings"
  sysctl -q net.ipv4.ip_forward=1
  [ "$(sysctl -n fs.inotify.max_user_instances)" -ge 1024 ] || sysctl -q fs.inotify.max_user_instances=1024
}

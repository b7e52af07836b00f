# Sourced by node.sh. The configuration files of a node: containerd, its pod network, kubelet.

write_containerd_config() {
  local runc
  runc=$(command -v runc)
  mkdir -p "$state/registries/$registry"
  echo "[host.\"http://$registry\"]" >"$state/registries/$registry/hosts.toml"
  cat >"$folder/containerd.toml" <<TOML
version = 3
root = "$folder/containerd"
state = "$run"
[grpc]
  address = "$run/containerd.sock"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["/usr/lib/cni"]
    conf_dir = "$folder/cni"
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      BinaryName = "$runc"
      Root = "$run/runc"
      SystemdCgroup = false
[plugins.'io.containerd.nri.v1.nri']
  disable = true   # its socket would be one for all nodes
[plugins.'io.containerd.cri.v1.images']
  discard_unpacked_layers = true   # half the disk
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "$(cat "$state/pause-image")"
[plugins.'io.containerd.cri.v1.images'.registry]
  config_path = "$state/registries"
TOML
}

write_pod_network_config() {
  cat >"$folder/cni/10-bridge.conflist" <<JSON
{
  "cniVersion": "1.0.0",
  "name": "pods-$name",
  "plugins": [
    {
      "type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
      "ipam": {
        "type": "host-local", "dataDir": "$folder/ipam",
        "ranges": [[{"subnet": "$pod_network"}]], "routes": [{"dst": "0.0.0.0/0"}]
      }
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
JSON
}

write_kubelet_config() {
  cat >"$folder/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  x509: {clientCAFile: "$pki/ca.crt"}
  webhook: {enabled: true}
authorization: {mode: Webhook}
containerRuntimeEndpoint: unix://$run/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /$name
enforceNodeAllocatable: []
failCgroupV1: false
failSwapOn: false
clusterDNS: ["$host_ip"]
clusterDomain: cluster.local
# the defaults of these two are folders that both nodes would share
podLogsDir: "$folder/pod-logs"
volumePluginDir: "$folder/kubelet/volume-plugins"
serializeImagePulls: false
evictionHard: {memory.available: "100Mi", nodefs.available: "1%", imagefs.available: "1%"}
imageGCHighThresholdPercent: 100
YAML
}

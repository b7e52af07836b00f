#!/bin/bash
# Boots etcd, API server, controller manager, scheduler and CoreDNS on the host. What runs is left, what died is started.
# API_SERVER_FLAGS and CONTROLLER_MANAGER_FLAGS add flags.
. "$(dirname "$0")/lib.sh"
. "$here/network.sh"
. "$here/certificates.sh"

main() {
  mkdir -p "$state/log"
  echo "$cluster" >"$owner_file"
  set_kernel_parameters
  join_host_to_bridge
  create_certificates
  start_etcd_and_api_server
  start_controllers
  start_dns
  echo "Control plane ready: $SECONDS s"
}

create_certificates() {
  create_authority
  create_certificate apiserver /CN=kube-apiserver \
    "DNS:localhost,DNS:kubernetes.default.svc,IP:127.0.0.1,IP:10.96.0.1,IP:$host_ip"
  create_certificate admin /O=system:masters/CN=admin DNS:admin
  create_certificate kube-proxy /CN=system:kube-proxy DNS:kube-proxy
  create_kubeconfig admin "$state/kubeconfig"
  cp "$state/kubeconfig" "$kubeconfig"
}

start_etcd_and_api_server() {
  daemon "$state" etcd etcd --data-dir "$state/etcd" --unsafe-no-fsync
  local flags=(
    --etcd-servers=http://127.0.0.1:2379
    --advertise-address="$host_ip" --bind-address=0.0.0.0
    --service-cluster-ip-range=10.96.0.0/16
    --client-ca-file="$pki/ca.crt" --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key"
    --service-account-issuer=https://kubernetes.default.svc
    --service-account-key-file="$pki/service-accounts.key"
    --service-account-signing-key-file="$pki/service-accounts.key"
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged
    --kubelet-client-certificate="$pki/admin.crt" --kubelet-client-key="$pki/admin.key"
    --kubelet-preferred-address-types=InternalIP
    # the host has no kube-proxy: webhooks and aggregated APIs are dialled at their pods' addresses
    --enable-aggregator-routing
    --audit-policy-file="$here/audit-policy.yaml" --audit-log-path="$state/log/audit.log" --audit-log-maxsize=4096
  )
  # shellcheck disable=SC2086
  daemon "$state" apiserver kube-apiserver "${flags[@]}" ${API_SERVER_FLAGS:-}
  wait_for 30 "healthy etcd" "$state" etcd curl -sf http://127.0.0.1:2379/health
  wait_for 60 "ready API server" "$state" apiserver kubectl get --raw /readyz
}

start_controllers() {
  # shellcheck disable=SC2086
  daemon "$state" controller-manager kube-controller-manager --kubeconfig="$state/kubeconfig" --leader-elect=false \
    --use-service-account-credentials --service-account-private-key-file="$pki/service-accounts.key" \
    --root-ca-file="$pki/ca.crt" --cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key" \
    ${CONTROLLER_MANAGER_FLAGS:-}
  daemon "$state" scheduler kube-scheduler --kubeconfig="$state/kubeconfig" --leader-elect=false
  wait_for 30 "default ServiceAccount" "$state" controller-manager kubectl get serviceaccount default
  wait_for 30 "healthy scheduler" "$state" scheduler curl -skf https://127.0.0.1:10259/healthz
}

# CoreDNS runs beside the control plane, not in a pod. Names outside the cluster do not resolve in pods.
start_dns() {
  cat >"$state/Corefile" <<CONF
.:53 {
  bind $host_ip
  errors
  ready 127.0.0.1:8181
  kubernetes cluster.local in-addr.arpa {
    kubeconfig $state/kubeconfig
    ttl 1
  }
}
CONF
  daemon "$state" coredns coredns -conf "$state/Corefile"
  wait_for 30 "ready CoreDNS" "$state" coredns curl -sf http://127.0.0.1:8181/ready
}

main

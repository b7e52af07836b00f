#!/bin/bash
# Installs Kueue into the running cluster, by its own chart and with an image of the binary that binaries.sh builds.
# kueue.sh remove: takes it out again, with all queues.
. "$(dirname "$0")/lib.sh"
. "$here/network.sh"
. "$here/registry.sh"
. "$here/builder.sh"

namespace=kueue-system

main() {
  [ -s "$kubeconfig" ] || die "there is no cluster: run up.sh first"
  case ${1:-install} in
    install) install ;;
    remove) remove ;;
    *) die "what to do is install or remove, not '$1'" ;;
  esac
}

install() {
  local context=$cache/kueue image
  "$here/binaries.sh" kueue
  mkdir -p "$context"
  cp -u "$bin/kueue" "$context/"
  image=kueue:$(content_tag "$here/kueue.Dockerfile" "$context")
  registry_start
  build_image "$image" "$here/kueue.Dockerfile" "$context"
  step "Installing Kueue" helm upgrade --install kueue "$bin/kueue-chart" --namespace "$namespace" --create-namespace \
    --values "$here/kueue-values.yaml" --wait --timeout 5m \
    --set "controllerManager.manager.image.repository=$registry/${image%:*}" \
    --set "controllerManager.manager.image.tag=${image##*:}"
}

# The queues go first: Kueue itself has to let go of them.
remove() {
  local kind
  for kind in workloads localqueues clusterqueues resourceflavors; do
    kubectl delete "$kind.kueue.x-k8s.io" --all --all-namespaces --ignore-not-found --timeout=60s
  done
  step "Removing Kueue" helm uninstall kueue --namespace "$namespace" --ignore-not-found --wait --timeout 5m
}

main "$@"

#!/bin/bash
# Builds a real Kubernetes, and what a node and the image builder need, from Go modules into .cluster/bin.
# About 10 minutes on two free cores the first time, 2 minutes with a warm Go build cache; what is built is left.
# binaries.sh object-store: builds an S3 server, which only the tests with object storage need.
# binaries.sh kueue: builds Kueue, which only the tests with queues need; 10 minutes of processor time, once.
# binaries.sh all: builds what `make test` needs, the first two.
. "$(dirname "$0")/lib.sh"
export CGO_ENABLED=0 GOGC=${GOGC:-400}   # the compiler's own garbage collection costs more time than there is want of memory
kubernetes_commands=(kube-apiserver kube-controller-manager kube-scheduler kubelet kubectl kube-proxy)

main() {
  mkdir -p "$bin" "$cache"
  exec 9>"$cache/binaries.lock"
  flock --nonblock 9 || { echo "Waiting for another build of the binaries ..." && flock 9; }   # two makes build once
  case ${1:-cluster} in
    cluster) build_cluster ;;
    object-store) build_object_store ;;
    kueue) build_queues ;;
    all) build_cluster && build_object_store ;;
    *) die "what to build is cluster, object-store, kueue or all, not '$1'" ;;
  esac
}

build_object_store() {
  program versitygw "$VERSITYGW_VERSION" versitygw build_module github.com/versity/versitygw/cmd/versitygw
}

build_queues() {
  program kueue "$KUEUE_VERSION" "kueue kueue-chart" build_kueue
}

build_cluster() {
  program kubernetes "$KUBERNETES_VERSION" "${kubernetes_commands[*]}" build_kubernetes
  program etcd "$ETCD_VERSION" etcd build_etcd
  program containerd "$CONTAINERD_VERSION" "containerd containerd-shim-runc-v2 ctr" \
    build_module github.com/containerd/containerd/v2/cmd/{containerd,containerd-shim-runc-v2,ctr}
  program coredns "$COREDNS_VERSION" coredns build_own coredns github.com/coredns/coredns
  program helm "$HELM_VERSION" helm build_module helm.sh/helm/v4/cmd/helm
  program kwok "$KWOK_VERSION" kwok build_module sigs.k8s.io/kwok/cmd/kwok
  program registry "$REGISTRY_VERSION" registry build_own registry github.com/distribution/distribution/v3
  program buildkit "$BUILDKIT_VERSION" "buildkitd buildctl" build_module github.com/moby/buildkit/cmd/{buildkitd,buildctl}
}

# program NAME VERSION "BINARY..." BUILDER [ARGUMENT...]: runs the builder in an empty Go module, unless bin/ has that version.
program() {
  local name=$1 version=$2 binaries=$3
  shift 3
  local stamp=$bin/.$name-$version
  [ ! -e "$stamp" ] || return 0
  command -v go >/dev/null || die "go is missing: install Go 1.21 or newer (it fetches the version that is needed by itself)"
  work=$(mktemp -d "$cache/build.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  mkdir "$work/module" "$work/out"
  cd "$work/module"
  printf 'module cluster\n\ngo 1.26.0\n' >go.mod
  step "Building $name $version" "$1" "$version" "${@:2}"
  for binary in $binaries; do mv "$work/out/$binary" "$bin/"; done   # never half a binary in bin/
  rm -f "$bin/.$name-"*
  touch "$stamp"
  rm -rf "$work"
}

# build_module VERSION PACKAGE...
build_module() {
  local version=$1
  shift
  go get -tool "${@/%/@$version}"
  compile -tags "no_btrfs no_devmapper no_zfs no_aufs" -ldflags="-s -w" "$@"
}

# build_own VERSION NAME MODULE: NAME/main.go beside this script, which needs less of the module than its own command.
build_own() {
  cp "$here/$2/main.go" .
  go get "$3@$1"
  export GOFLAGS="${GOFLAGS:-} -mod=mod"
  compile -ldflags="-s -w" .
  mv "$work/out/cluster" "$work/out/$2"
}

# compile ARGUMENT...: without the debugger's tables, which nobody reads here.
compile() {
  go build -trimpath -buildvcs=false -gcflags=all=-dwarf=false -o "$work/out/" "$@"
}

build_kueue() {
  local version=$1 folder
  build_module "$version" sigs.k8s.io/kueue/cmd/kueue
  folder=$(go list -m -f '{{.Dir}}' sigs.k8s.io/kueue)
  cp -r "$folder/charts/kueue" "$work/out/kueue-chart"
  chmod -R u+w "$work/out/kueue-chart"
  rm -rf "$bin/kueue-chart"   # mv would put the new one into the old one
}

build_etcd() {
  build_module "$1" go.etcd.io/etcd/server/v3
  mv "$work/out/server" "$work/out/etcd"
}

# k8s.io/kubernetes replaces its staging modules by folders of its own tree; a module that requires it must name their
# releases instead.
build_kubernetes() {
  local version=$1 module_file staging name
  local packages=("${kubernetes_commands[@]/#/k8s.io/kubernetes/cmd/}")
  module_file=$(go mod download -json "k8s.io/kubernetes@$version" | sed -n 's/.*"GoMod": "\(.*\)".*/\1/p')
  [ -s "$module_file" ] || die "the Go module proxy has no k8s.io/kubernetes@$version"
  staging=$(grep -oE 'k8s.io/[a-z0-9-]+ => \./staging' "$module_file" | awk '{print $1}' | sort -u)
  {
    echo "require k8s.io/kubernetes $version"
    for name in $staging; do echo "replace $name => $name $KUBERNETES_STAGING_VERSION"; done
  } >>go.mod
  export GOFLAGS="${GOFLAGS:-} -mod=mod"
  go get -tool "${packages[@]}"
  compile -ldflags="-s -w $(kubernetes_version_flags "$version")" "${packages[@]}"
}

# Without these, kubectl and the nodes would report v0.0.0.
kubernetes_version_flags() {
  local package=k8s.io/component-base/version major minor
  IFS=. read -r major minor _ <<<"${1#v}"
  echo "-X $package.gitVersion=$1 -X $package.gitMajor=$major -X $package.gitMinor=$minor"
}

main "$@"

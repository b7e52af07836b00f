# Sourced. Builds Dockerfiles with BuildKit and pushes the images to the local registry.

buildkit_address=unix://$buildkit_run/buildkitd.sock

builder_start() {
  alive "$state/buildkitd.pid" && return
  mkdir -p "$state" "$cache/buildkit" "$buildkit_run"
  # networkMode host: build steps reach the package registries the way this machine does
  cat >"$state/buildkitd.toml" <<TOML
root = "$cache/buildkit"
[grpc]
  address = ["$buildkit_address"]
[otel]
  socketPath = "$buildkit_run/otel.sock"
[worker.containerd]
  enabled = false
[worker.oci]
  binary = "$(command -v runc)"
  networkMode = "host"
  gc = true
  maxUsedSpace = "20GB"
[registry."$registry"]
  http = true
TOML
  daemon "$state" buildkitd buildkitd --config "$state/buildkitd.toml"
  wait_for 20 BuildKit "$state" buildkitd buildctl --addr "$buildkit_address" debug workers
}

# build_image NAME:TAG DOCKERFILE CONTEXT [BUILDCTL-OPTION...]: unless the registry has it. Uncompressed: the registry is
# on this machine, and gzip would take longer than the build.
build_image() {
  local image=$1 dockerfile=$2 context=$3
  shift 3
  if registry_has "$image"; then
    echo "$image is up to date"
    return
  fi
  builder_start
  step "Building image $image" buildctl --addr "$buildkit_address" build --frontend dockerfile.v0 \
    --local "context=$context" --local "dockerfile=$(dirname "$dockerfile")" --opt "filename=$(basename "$dockerfile")" \
    --output "type=image,name=$registry/$image,push=true,compression=uncompressed" --progress plain "$@"
}

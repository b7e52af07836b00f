# Sourced. The local image registry, which nodes pull from and BuildKit pushes to.

# registry_start: also forgets old images, since their content is kept from one cluster to the next.
registry_start() {
  alive "$state/registry.pid" && return
  mkdir -p "$state" "$cache/registry"
  join_host_to_bridge
  cat >"$state/registry.yaml" <<YAML
version: 0.1
storage: {filesystem: {rootdirectory: $cache/registry}, delete: {enabled: true}}
http: {addr: "$registry"}
YAML
  registry_forget_old_images
  daemon "$state" registry registry serve "$state/registry.yaml"
  wait_for 20 registry "$state" registry curl -fs "http://$registry/v2/"
}

# The three newest tags of each repository stay. The registry must not run meanwhile.
registry_forget_old_images() {
  local tags
  for tags in "$cache"/registry/docker/registry/v2/repositories/*/_manifests/tags; do
    [ -d "$tags" ] || continue
    (cd "$tags" && find . -mindepth 1 -maxdepth 1 -printf '%T@ %f\n' | sort -rn | tail -n +4 | cut -d' ' -f2 | xargs -r rm -rf)
  done
  [ ! -d "$cache/registry/docker" ] ||
    registry garbage-collect --delete-untagged "$state/registry.yaml" >"$state/registry-garbage.log" 2>&1 ||
    die "the registry cannot tidy up: $(tail -n 3 "$state/registry-garbage.log")"
}

# registry_has NAME:TAG
registry_has() {
  curl -fs -o /dev/null -H 'Accept: application/vnd.oci.image.manifest.v1+json' \
    "http://$registry/v2/${1%:*}/manifests/${1##*:}"
}

#!/bin/bash
# Builds the images of the operator and of the trainer (ACCELERATOR=cpu, or cuda), pushes them to the local registry and
# writes their names to .cluster/images.env. A tag is a digest of what goes in: an image that is there is not built again.
. "$(dirname "$0")/lib.sh"
. "$here/packages.sh"
. "$here/network.sh"
. "$here/registry.sh"
. "$here/builder.sh"
. "$here/base-image.sh"

accelerator=${ACCELERATOR:-cpu}

main() {
  [ "$(id -u)" = 0 ] || die "building images needs root: run it as root"
  install_packages runc=runc curl=curl ip=iproute2 git=git
  "$here/binaries.sh"
  registry_start
  copy_certificates
  base_image
  build operator
  build trainer
  cat >"$cluster/images.env" <<ENV
OPERATOR_IMAGE=$registry/$operator_image
TRAINER_IMAGE=$registry/$trainer_image
ENV
  cat "$cluster/images.env"
}

# build NAME: sets NAME_image.
build() {
  local name=$1 dockerfile=operator/Dockerfile inputs image
  cd "$root"
  inputs=(requirements/{build,$name}.txt pyproject.toml README.md crds/qlora_api operator/qlora_operator
    trainer_image/qlora_trainer cli/qlora_cli)
  if [ "$name" = trainer ]; then
    dockerfile=trainer_image/Dockerfile
    inputs+=(trainer_image/build)
  fi
  image=qlora-$name:$(content_tag "$dockerfile" "${inputs[@]}")
  [ "$name-$accelerator" != trainer-cuda ] || image+=-cuda
  build_image "$image" "$dockerfile" "$root" \
    --local "certs=$cache/certs" --opt context:certs=local:certs \
    --opt "build-arg:BASE=$registry/$base_image" --opt "build-arg:ACCELERATOR=$accelerator"
  declare -g "${name}_image=$image"
}

# Some authority of this machine's own may sign what build steps download.
copy_certificates() {
  mkdir -p "$cache/certs"
  cp "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" "$cache/certs/ca-certificates.crt"
}

main

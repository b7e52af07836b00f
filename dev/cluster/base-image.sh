# Sourced. Images that the others stand on: built once, kept in the registry.

# busybox_image: sets busybox_image.
busybox_image() {
  local context=$cache/busybox
  mkdir -p "$context"
  cp -u "$(command -v busybox)" "$context/"
  busybox_image=busybox:$(content_tag "$here/busybox.Dockerfile" "$context")
  build_image "$busybox_image" "$here/busybox.Dockerfile" "$context"
}

# base_image: sets base_image. Debian's own Python, by debootstrap.
base_image() {
  local context=$cache/base tag
  tag=$DEBIAN_RELEASE-$(content_tag "$here/base.Dockerfile" "$here/base-image.sh")
  base_image=python:$tag
  registry_has "$base_image" && return
  install_packages debootstrap=debootstrap
  mkdir -p "$context"
  step "Fetching Debian $DEBIAN_RELEASE" debootstrap_archive "$context"
  build_image "$base_image" "$here/base.Dockerfile" "$context"
  rm -rf "$context"
}

debootstrap_archive() {
  local rootfs=$1/rootfs mirror
  mirror=$(debian_mirror || true)
  [ -n "$mirror" ] || die "no Debian mirror in /etc/apt/sources.list*: add one"
  rm -rf "$rootfs"
  debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates "$DEBIAN_RELEASE" "$rootfs" "$mirror"
  rm -rf "${rootfs:?}"/{dev/*,var/cache/apt/*,var/lib/apt/lists/*,usr/share/doc/*,usr/share/man/*,usr/share/locale/*}
  ln -s python3 "$rootfs/usr/bin/python"
  tar -C "$rootfs" --numeric-owner -cf "$1/rootfs.tar" .
  rm -rf "$rootfs"
}

# The one this machine's apt uses.
debian_mirror() {
  cat /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null |
    grep -oE '^(URIs: |deb (\[[^]]*\] )?)[^ ]+' | awk 'NR == 1 {print $NF}'
}

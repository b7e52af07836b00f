# Sourced. install_packages COMMAND=PACKAGE...: installs the Debian packages whose command is missing.

install_packages() {
  local pair missing=()
  for pair; do
    command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null || die "please install: ${missing[*]} (there is no apt-get here)"
  step "Installing ${missing[*]}" apt_install "${missing[@]}"
}

apt_install() {
  export DEBIAN_FRONTEND=noninteractive
  apt-get install -y --no-install-recommends "$@" || {
    apt-get update   # a machine that has never updated its lists, or long ago
    apt-get install -y --no-install-recommends "$@"
  }
}

# Sourced. A certificate authority in $state/pki and certificates signed by it.

pki=$state/pki

run_openssl() {
  openssl "$@" 2>>"$state/log/openssl.log" || die "openssl failed: $(tail -n 5 "$state/log/openssl.log")"
}

create_authority() {
  mkdir -p "$pki" "$state/log"
  [ -s "$pki/ca.crt" ] || run_openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=ca -days 365 \
    -keyout "$pki/ca.key" -out "$pki/ca.crt"
  [ -s "$pki/service-accounts.key" ] || run_openssl genrsa -out "$pki/service-accounts.key" 2048
}

# create_certificate NAME SUBJECT ALTERNATIVE-NAMES
create_certificate() {
  local name=$1 subject=$2 alternatives=$3
  [ ! -s "$pki/$name.crt" ] || return 0
  run_openssl req -new -newkey rsa:2048 -nodes -subj "$subject" -keyout "$pki/$name.key" -out "$pki/$name.csr"
  printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$alternatives" >"$pki/$name.extensions"
  run_openssl x509 -req -in "$pki/$name.csr" -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -days 365 \
    -set_serial "0x$(openssl rand -hex 8)" -extfile "$pki/$name.extensions" -out "$pki/$name.crt"
}

# create_kubeconfig CERTIFICATE FILE: with the keys inside, so that the file can be used from anywhere.
create_kubeconfig() {
  local user=$1 file=$2
  cat >"$file" <<YAML
apiVersion: v1
kind: Config
clusters:
  - name: dev
    cluster: {server: "https://$host_ip:6443", certificate-authority-data: $(base64 -w0 "$pki/ca.crt")}
users:
  - name: $user
    user:
      client-certificate-data: $(base64 -w0 "$pki/$user.crt")
      client-key-data: $(base64 -w0 "$pki/$user.key")
contexts:
  - {name: dev, context: {cluster: dev, user: $user}}
current-context: dev
YAML
  chmod 600 "$file"
}

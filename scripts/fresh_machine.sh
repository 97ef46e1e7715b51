#!/usr/bin/env bash
# Runs the README's two commands on a fresh machine: in a root with only a minimal Debian 12, made by debootstrap, on a
# clone of the checked-out commit. Prints their output.
# Usage: scripts/fresh_machine.sh [COMMAND]      COMMAND runs in the clone instead of the two, such as
#   scripts/fresh_machine.sh 'scripts/install_dependencies.sh test && scripts/test.sh'
# Needs root and debootstrap; exits with 77 and the reason if it cannot make such a root. Uses this machine's mirror and
# settings of apt, proxies and pip; MSLT_DEBIAN_MIRROR names another mirror.
set -euo pipefail
cd "$(dirname "$0")/.."

command=${1:-scripts/quickstart.sh && scripts/test.sh}

cannot() {
  echo "No fresh machine can be made here: $*" >&2
  exit 77
}
[[ $(uname -s) == Linux ]] || cannot "this is not Linux."
[[ $(id -u) -eq 0 ]] || cannot "it needs root."
command -v debootstrap >/dev/null || cannot "debootstrap is not installed (apt-get install debootstrap)."
command -v git >/dev/null || cannot "git is not installed (apt-get install git)."
# Mounts are made in a separate namespace, so they disappear with its last process, however that ends.
unshare --mount --pid --fork true 2>/dev/null || cannot "this machine does not allow mount and process namespaces."

# The first mirror of this machine's own packages.
own_mirror() {
  # shellcheck disable=SC1091
  [[ $(. /etc/os-release && echo "${ID:-}") == debian ]] || return 0
  { cat /etc/apt/sources.list.d/*.sources /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null || true; } |
    awk '$1 == "URIs:" && !found { print $2; found = 1 }
         $1 == "deb" && !found { for (i = 2; i <= NF; ++i) if ($i ~ /^[a-z+]+:\//) { print $i; found = 1; break } }'
}
mirror=${MSLT_DEBIAN_MIRROR:-$(own_mirror)}
[[ -n $mirror ]] || cannot "no mirror of Debian is known: name one in MSLT_DEBIAN_MIRROR."
# debootstrap does not read apt's settings and takes a proxy from the environment.
proxy=$(apt-config dump Acquire::http::Proxy 2>/dev/null | sed -nE 's/^[^"]*"(http[^"]+)";$/\1/p' || true)
[[ -z $proxy ]] || export http_proxy=${http_proxy:-$proxy}

work=$(mktemp -d "${TMPDIR:-/tmp}/mslt_fresh.XXXXXX")
machine=
finish() {
  [[ -z $machine ]] || kill -KILL "$machine" 2>/dev/null || true
  wait
  rm -rf --one-file-system "$work"
}
trap finish EXIT
# A signal ends the script through the trap above.
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
root=$work/root

include=()
[[ $mirror != https:* ]] || include=(--include=ca-certificates)
echo "== A minimal Debian 12"
unshare --mount --propagation private debootstrap --variant=minbase "${include[@]}" bookworm "$root" "$mirror" >"$work/debootstrap.log" 2>&1 || {
  tail -n 5 "$work/debootstrap.log" >&2
  cannot "debootstrap failed."
}

# take FILE: copies it to the same place in the root
take() {
  [[ ! -f $1 ]] || install -D -m 644 "$1" "$root$1"
}
# This machine's access to package mirrors. Otherwise no variable, cache or locale of it.
for file in /etc/resolv.conf /etc/hosts /etc/pip.conf; do take "$file"; done
apt-config dump | grep '^Acquire::' >"$root/etc/apt/apt.conf.d/90of-the-host" || true
while IFS= read -r file; do take "$file"; done < <(grep -oE '"/[^"]+"' "$root/etc/apt/apt.conf.d/90of-the-host" | tr -d '"')
if [[ -d /usr/local/share/ca-certificates ]]; then
  cp -r /usr/local/share/ca-certificates "$root/usr/local/share/"
fi
variables=(PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root)
for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY PIP_INDEX_URL PIP_EXTRA_INDEX_URL \
  PIP_TRUSTED_HOST PIP_CERT PIP_CONFIG_FILE MSLT_WERROR REQUESTS_CA_BUNDLE SSL_CERT_FILE CURL_CA_BUNDLE; do
  [[ -n ${!name:-} ]] || continue
  variables+=("$name=${!name}")
  case ${!name} in /*) take "${!name}" ;; esac
done

commit=$(git rev-parse HEAD)
[[ -z $(git status --porcelain) ]] || echo "Uncommitted changes are not included."
git -c advice.detachedHead=false clone -q --no-hardlinks . "$root/mslt"
git -C "$root/mslt" -c advice.detachedHead=false checkout -q "$commit"

echo "== In it, on commit ${commit:0:12}: $command"
# shellcheck disable=SC2016
unshare --mount --propagation private --pid --fork --kill-child bash -euc '
  root=$1
  shift
  mount -t proc proc "$root/proc"
  mount --rbind /sys "$root/sys"
  mount --rbind /dev "$root/dev"
  command=$1
  shift
  exec chroot "$root" /usr/bin/env -i "$@" bash -c "update-ca-certificates >/dev/null 2>&1 || true; cd /mslt && $command"
' bash "$root" "$command" "${variables[@]}" </dev/null &
machine=$!
status=0
wait "$machine" || status=$?
machine=
exit $status

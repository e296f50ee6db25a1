#!/usr/bin/env bash
# build.sh [REGISTRY] [TAG] [PRETRAINED]: builds both images with podman or docker, pushes them where there is a
# registry, and prints their names, by the registry's digests, that the pipelines are compiled against.
#   ENGINE      podman or docker (default: whichever is there)
#   BUILD_ARGS  more arguments for both builds, e.g. --build-arg BASE_IMAGE=...
#   PUSH_ARGS   more arguments for both pushes
#   SOURCE      where the sources are, for the label (default: the origin, if that is a https address)
set -euo pipefail
cd "$(dirname "$0")/.."
registry=${1:-} tag=${2:-} pretrained=${3:-}
engine=${ENGINE:-$(command -v podman || command -v docker || true)}
[ -n "$engine" ] || { echo "error: neither podman nor docker is there; valid: one of them installed" >&2; exit 1; }
if [ -n "$pretrained" ]; then
  case $pretrained in *..* | /*) inside= ;; weights/*) inside=yes ;; *) inside= ;; esac
  if [ -z "$inside" ] || [ ! -f "$pretrained" ]; then
    echo "error: PRETRAINED=$pretrained: not a file there; valid: a file in weights/, which a build sees" >&2
    exit 1
  fi
fi
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
tag=${tag:-$version}
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
source=${SOURCE:-$({ git remote get-url origin 2>/dev/null || true; } | sed -n 's#^https://\([^/@]*@\)\{0,1\}#https://#p')}

# The digest is the one of what was pushed: podman packs layers on their way, and its own is another.
pushed() {
  if "$engine" --version | grep -qi podman; then
    digest=$(mktemp)
    # shellcheck disable=SC2086 # PUSH_ARGS are several words
    "$engine" push ${PUSH_ARGS:-} --digestfile "$digest" "$1" >&2
    echo "${1%:*}@$(cat "$digest")"
    rm "$digest"
  else
    # shellcheck disable=SC2086
    "$engine" push ${PUSH_ARGS:-} "$1" >&2
    "$engine" image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$1" | grep -F "${1%:*}@"
  fi
}

names=()
for kind in cpu gpu; do
  name=${registry:+${registry%/}/}fontanelle-$kind:$tag
  extra=()
  if [ "$kind" = gpu ] && [ -n "$pretrained" ]; then extra=(--build-arg "PRETRAINED=$pretrained"); fi
  # shellcheck disable=SC2086 # BUILD_ARGS are several words
  "$engine" build ${BUILD_ARGS:-} "${extra[@]}" --build-arg "VERSION=$version" --build-arg "REVISION=$revision" \
    --build-arg "SOURCE=$source" --file "images/$kind.Containerfile" --tag "$name" .
  if [ -n "$registry" ]; then name=$(pushed "$name"); fi
  names+=("$name")
done
echo
if [ -n "$registry" ]; then
  echo "python -m pipelines compile --image-cpu ${names[0]} --image-gpu ${names[1]}"
else
  echo "${names[*]}: built and not pushed; REGISTRY= pushes them, and prints their digests"
fi

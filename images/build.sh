#!/usr/bin/env bash
# build.sh [REGISTRY] [TAG] [PRETRAINED]: builds both images with podman or docker, pushes them where there is a
# registry, and prints the names, by digest, that the pipelines are compiled against.
#   ENGINE      podman or docker (default: whichever is there)
#   BUILD_ARGS  more arguments for both builds, e.g. --build-arg BASE_IMAGE=...
set -euo pipefail
cd "$(dirname "$0")/.."
registry=${1:-} tag=${2:-} pretrained=${3:-}
engine=${ENGINE:-$(command -v podman || command -v docker || true)}
[ -n "$engine" ] || { echo "error: neither podman nor docker is there; valid: one of them installed" >&2; exit 1; }
if [ -n "$pretrained" ] && [ ! -f "$pretrained" ]; then
  echo "error: PRETRAINED=$pretrained: no such file; valid: a file inside the repository" >&2
  exit 1
fi
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
tag=${tag:-$version}
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
names=()
for kind in cpu gpu; do
  name=${registry:+${registry%/}/}fontanelle-$kind:$tag
  extra=()
  if [ "$kind" = gpu ] && [ -n "$pretrained" ]; then extra=(--build-arg "PRETRAINED=$pretrained"); fi
  # shellcheck disable=SC2086 # BUILD_ARGS are several words
  "$engine" build ${BUILD_ARGS:-} "${extra[@]}" --build-arg "VERSION=$version" --build-arg "REVISION=$revision" \
    --file "images/$kind.Containerfile" --tag "$name" .
  if [ -n "$registry" ]; then
    "$engine" push "$name"
    name=$("$engine" image inspect --format '{{index .RepoDigests 0}}' "$name")
  fi
  names+=("$name")
done
echo
echo "python -m pipelines compile --image-cpu ${names[0]} --image-gpu ${names[1]}"

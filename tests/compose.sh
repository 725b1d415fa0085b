#!/usr/bin/env bash
# What the containers promise, checked on real ones: size, health, confinement, training into a running service, stop.
# Needs Docker with Compose, and curl; a port other than 18000 may be given as CHECK_PORT. The repository's models stay
# as they are: a stack of its own serves a copy. Nothing stays behind but the images.
set -euo pipefail
umask 022
cd "$(dirname "$0")/.."

SERVE_MB=450 # of what an image unpacks to, base included
RECIPE=tests/training/recipes_for_tests/quick-simulated.toml

work=$(mktemp -d)
cp -r models "$work/models"
export COMPOSE_PROJECT_NAME=pricecast-check COMPOSE_PROFILES=
export PRICECAST_PORT=${CHECK_PORT:-18000} PRICECAST_MODELS_DIR=$work/models
if [ "$(id -u)" = 0 ]; then # nothing is to be trained as root
  export TRAIN_USER=1000:1000
  chown -R "$TRAIN_USER" "$work/models"
else
  export TRAIN_USER="$(id -u):$(id -g)"
fi
url=http://127.0.0.1:$PRICECAST_PORT

down() {
  docker compose down --volumes --remove-orphans >/dev/null 2>&1 || :
  rm -rf "$work"
}
trap down EXIT
fail() {
  echo "FAILED: $*" >&2
  docker compose logs --tail 30 serve >&2 || :
  exit 1
}
passed() { echo "ok: $*"; }
get() { curl --silent --show-error --fail --noproxy '*' --max-time 10 "$@"; }
inside() { docker compose exec -T serve "$@"; }
megabytes() { docker history --human=false --format '{{.Size}}' "$1" | awk '{ bytes += $1 } END { print int(bytes / 1e6) }'; }
version() { get "$url/models/$1" | sed -n 's/.*"name": *"'"$1"'", *"version": *"\([0-9]*\)".*/\1/p'; }

# The file itself
docker compose --profile '*' config --quiet || fail "the compose file is not valid"
sed -e '/"127\.0\.0\.1:.*:8000"/d' -e 's/# \(- "8000:8000"\)/\1/' \
  -e '/PRICECAST_ALLOW_PUBLIC_WITHOUT_KEYS/d' -e 's/# \(PRICECAST_API_KEYS:\)/\1/' docker-compose.yml >"$work/exposed.yml"
exposed() { docker compose --project-directory . --file "$work/exposed.yml" config; }
exposed >/dev/null 2>&1 && fail "with the port published to all, it starts without keys"
PRICECAST_API_KEYS=somebody:0 exposed | grep -q 'PRICECAST_API_KEYS: somebody:0' || fail "its comments tell no working way to keys"
passed "the compose file, and as its comments change it"

# The images
docker compose --profile train build --quiet
size=$(megabytes pricecast:serve)
[ "$size" -le "$SERVE_MB" ] || fail "the image serves in $size MB, more than $SERVE_MB"
passed "images: serve $size MB, train $(megabytes pricecast:train) MB"
code=0
docker run --rm pricecast:serve >"$work/log" 2>&1 || code=$?
[ "$code" = 2 ] && grep -q api_keys "$work/log" || fail "by itself, the image does not ask for keys: $(cat "$work/log")"
passed "by itself, the image refuses to serve everyone"

# The service
docker compose up --detach --wait --wait-timeout 60 serve || fail "it does not become healthy"
container=$(docker compose ps --quiet serve)
started=$(docker inspect --format '{{.State.StartedAt}}' "$container")
passed "healthy"

curl_of_readme=$(awk '/^```sh$/ { block = ""; inside = 1; next } /^```$/ && inside { if (block ~ /^curl/) { print block; exit } inside = 0 }
  inside { block = block $0 "\n" }' README.md)
answer=$(eval "${curl_of_readme//http:\/\/127.0.0.1:8000/$url} --noproxy '*'")
[[ $answer == *'"forecast"'*'"intervals"'* ]] || fail "the README's curl is answered with: $answer"
passed "the README's curl"

status=$(inside cat /proc/1/status)
for line in 'Uid:[[:space:]]+10001[[:space:]]+10001' 'CapEff:[[:space:]]+0+$' 'CapPrm:[[:space:]]+0+$' 'CapBnd:[[:space:]]+0+$' 'NoNewPrivs:[[:space:]]+1$'; do
  grep -qE "$line" <<<"$status" || fail "/proc/1/status has no $line: $status"
done
passed "an ordinary user, without capabilities, now and ever"
for path in /srv/pricecast/new /srv/pricecast/models/new /opt/venv/new; do
  said=$(inside touch "$path" 2>&1 || :)
  [[ $said == *'Read-only file system'* ]] || fail "$path is not on a read-only file system: ${said:-it can be written}"
done
inside touch /tmp/new || fail "/tmp cannot be written"
passed "a read-only root, and read-only models"
inside python -c 'import importlib.util as u, sys; sys.exit(any(map(u.find_spec, ["keras", "tensorflow", "training"])))' ||
  fail "there is more in it than serving needs"
host=$(docker inspect --format '{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}' "$container")
[[ $host =~ ^[1-9][0-9]*\ [1-9][0-9]*\ [1-9][0-9]*$ ]] || fail "memory, cores and processes are not all limited: $host"
docker inspect --format '{{range .NetworkSettings.Ports}}{{range .}}{{.HostIp}} {{end}}{{end}}' "$container" | grep -qx '127\.0\.0\.1 ' ||
  fail "published on more than 127.0.0.1"
passed "limited, and reached from this machine only"

# Training into the running service
before=$(version tutorial)
docker compose run --rm --volume "$PWD/$RECIPE:/recipe.toml:ro" train train /recipe.toml --name tutorial || fail "training"
for _ in $(seq 30); do
  after=$(version tutorial)
  [ "$after" != "$before" ] && break
  sleep 1
done
[ "$after" = $((before + 1)) ] || fail "version $before is still served 30 s after the next was published"
prices=$(seq --separator=, 100 159)
get "$url/predict" -H 'Content-Type: application/json' -d "{\"model\": \"tutorial\", \"prices\": [$prices]}" | grep -q "\"version\": *\"$after\"" ||
  fail "version $after does not answer"
[ "$(docker inspect --format '{{.State.StartedAt}}' "$container")" = "$started" ] || fail "it was restarted"
passed "version $after, trained in a container, is served without a restart"

# The end
docker compose stop serve
code=$(docker inspect --format '{{.State.ExitCode}}' "$container")
[ "$code" = 0 ] || fail "stopped with exit code $code" # 137: killed, as the grace was over
passed "stopped in time, with exit code 0"

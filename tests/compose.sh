#!/usr/bin/env bash
# Checks the running containers: image size, health, confinement, training into a running service, and shutdown.
# Needs Docker with Compose, and curl. CHECK_PORT sets another port than 18000. The service uses a copy of the models, so
# the repository's models do not change. Only the images are left behind.
set -euo pipefail
umask 022
cd "$(dirname "$0")/.."

SERVE_MB=450 # maximum size of the unpacked image, including its base
RECIPE=tests/training/recipes_for_tests/quick-simulated.toml

work=$(mktemp -d)
cp -r models "$work/models"
export COMPOSE_PROJECT_NAME=pricecast-check COMPOSE_PROFILES=
export PRICECAST_PORT=${CHECK_PORT:-18000} PRICECAST_MODELS_DIR=$work/models
if [ "$(id -u)" = 0 ]; then # do not train as root
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

# The compose file
docker compose --profile '*' config --quiet || fail "the compose file is not valid"
sed -e '/"127\.0\.0\.1:.*:8000"/d' -e 's/# \(- "8000:8000"\)/\1/' \
  -e '/PRICECAST_ALLOW_PUBLIC_WITHOUT_KEYS/d' -e 's/# \(PRICECAST_API_KEYS:\)/\1/' docker-compose.yml >"$work/exposed.yml"
exposed() { docker compose --project-directory . --file "$work/exposed.yml" config; }
exposed >/dev/null 2>&1 && fail "with a published port, the service starts without API keys"
PRICECAST_API_KEYS=somebody:0 exposed | grep -q 'PRICECAST_API_KEYS: somebody:0' || fail "the commented-out lines for API keys do not work"
passed "the compose file is valid, also with the commented-out lines"

# The images
docker compose --profile train build --quiet
size=$(megabytes pricecast:serve)
[ "$size" -le "$SERVE_MB" ] || fail "the image has $size MB, more than $SERVE_MB MB"
passed "image sizes: serve $size MB, train $(megabytes pricecast:train) MB"
code=0
docker run --rm pricecast:serve >"$work/log" 2>&1 || code=$?
[ "$code" = 2 ] && grep -q "PRICECAST_API_KEYS is empty" "$work/log" || fail "the image starts without API keys: $(cat "$work/log")"
passed "the image does not start without API keys"

# The service
docker compose up --detach --wait --wait-timeout 60 serve || fail "the service does not become healthy"
container=$(docker compose ps --quiet serve)
started=$(docker inspect --format '{{.State.StartedAt}}' "$container")
passed "healthy"

curl_of_readme=$(awk '/^```sh$/ { block = ""; inside = 1; next } /^```$/ && inside { if (block ~ /^curl/) { print block; exit } inside = 0 }
  inside { block = block $0 "\n" }' README.md)
answer=$(eval "${curl_of_readme//http:\/\/127.0.0.1:8000/$url} --noproxy '*'")
[[ $answer == *'"forecast"'*'"intervals"'* ]] || fail "unexpected answer to the README's curl command: $answer"
passed "the README's curl command"

status=$(inside cat /proc/1/status)
for line in 'Uid:[[:space:]]+10001[[:space:]]+10001' 'CapEff:[[:space:]]+0+$' 'CapPrm:[[:space:]]+0+$' 'CapBnd:[[:space:]]+0+$' 'NoNewPrivs:[[:space:]]+1$'; do
  grep -qE "$line" <<<"$status" || fail "/proc/1/status has no $line: $status"
done
passed "runs as an ordinary user without capabilities, and cannot gain any"
for path in /srv/pricecast/new /srv/pricecast/models/new /opt/venv/new; do
  output=$(inside touch "$path" 2>&1 || :)
  [[ $output == *'Read-only file system'* ]] || fail "$path is not read-only: ${output:-it was written}"
done
inside touch /tmp/new || fail "/tmp is not writable"
passed "root and models are read-only"
inside python -c 'import importlib.util as u, sys; sys.exit(any(map(u.find_spec, ["keras", "tensorflow", "training"])))' ||
  fail "the image contains packages that serving does not need"
host=$(docker inspect --format '{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}' "$container")
[[ $host =~ ^[1-9][0-9]*\ [1-9][0-9]*\ [1-9][0-9]*$ ]] || fail "memory, CPUs and processes must all be limited: $host"
docker inspect --format '{{range .NetworkSettings.Ports}}{{range .}}{{.HostIp}} {{end}}{{end}}' "$container" | grep -qx '127\.0\.0\.1 ' ||
  fail "the port is published on other addresses than 127.0.0.1"
passed "resources are limited, and only this machine can connect"

# Training into the running service
before=$(version tutorial)
docker compose run --rm --volume "$PWD/$RECIPE:/recipe.toml:ro" train train /recipe.toml --name tutorial || fail "training failed"
for _ in $(seq 30); do
  after=$(version tutorial)
  [ "$after" != "$before" ] && break
  sleep 1
done
[ "$after" = $((before + 1)) ] || fail "version $before is still served 30 s after its successor was published"
prices=$(seq --separator=, 100 159)
get "$url/predict" -H 'Content-Type: application/json' -d "{\"model\": \"tutorial\", \"prices\": [$prices]}" | grep -q "\"version\": *\"$after\"" ||
  fail "version $after does not answer requests"
[ "$(docker inspect --format '{{.State.StartedAt}}' "$container")" = "$started" ] || fail "the service was restarted"
passed "version $after was trained in a container and is served without a restart"

# Shutdown
docker compose stop serve
code=$(docker inspect --format '{{.State.ExitCode}}' "$container")
[ "$code" = 0 ] || fail "stopped with exit code $code" # 137: killed after the grace period
passed "stopped in time with exit code 0"

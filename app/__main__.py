"""`python -m app`: settings from the environment, then one server process or several, until SIGTERM or Ctrl-C.

`python -m app key CLIENT` makes a key instead.
"""

import argparse
import sys
from collections.abc import Sequence

from pydantic import ValidationError

from app import api_keys
from app.observability.logs import log_to_stderr
from app.settings import PREFIX, Settings


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("python -m app", description="Serves forecasts; settings are in the environment.")
    verbs = parser.add_subparsers(dest="verb")
    maker = verbs.add_parser("key", help="make an API key")
    maker.add_argument("client", help="whose key it is: lower-case letters, digits, - and _")
    asked = parser.parse_args(arguments)
    return _make_key(asked.client) if asked.verb == "key" else _serve()


def _make_key(client: str) -> int:
    key, setting = api_keys.new(client)
    try:
        api_keys.parse(setting)
    except ValueError:
        print(f"{client!r} is no name for a client: lower-case letters, digits, - and _, 64 at most", file=sys.stderr)
        return 2
    print(f"the key, shown this once: {key}")
    print(f"to go into {PREFIX}API_KEYS or {PREFIX}ADMIN_KEYS: {setting}")
    return 0


def _serve() -> int:
    try:
        settings = Settings()
    except ValidationError as error:
        for each in error.errors(include_url=False, include_input=False):
            name = PREFIX + str(each["loc"][0]).upper() if each["loc"] else "settings"
            print(f"{name}: {each['msg']}", file=sys.stderr)
        return 2
    log_to_stderr(settings.log_level)
    if settings.workers > 1:
        from app.server.supervisor import Supervisor

        return Supervisor(settings).run()
    from app.server.uvicorn_server import serve  # only here: a supervisor needs nothing of it

    return serve(settings)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

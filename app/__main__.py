"""Command line: `python -m app` serves forecasts, `python -m app key CLIENT` generates an API key."""

import argparse
import sys
from collections.abc import Sequence

from pydantic import ValidationError

from app import api_keys
from app.observability.logs import configure_logging
from app.settings import PREFIX, Settings

DESCRIPTION = (
    f"Serve forecasts until SIGTERM or Ctrl-C. All settings are {PREFIX}* environment variables; the README lists them."
)


def main(arguments: Sequence[str]) -> int:
    """Run the command line.

    Returns:
        The exit code: 0 for success, 2 for invalid settings or arguments.
    """
    parser = argparse.ArgumentParser("python -m app", description=DESCRIPTION)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    key_parser = commands.add_parser("key", help="generate an API key", description="Generate an API key.")
    key_parser.add_argument("client", metavar="CLIENT", help="name of the client: lower-case letters, digits, - and _")
    options = parser.parse_args(arguments)
    return _generate_key(options.client) if options.command == "key" else _serve()


def _generate_key(client: str) -> int:
    key, entry = api_keys.generate(client)
    try:
        api_keys.parse(entry)
    except ValueError:
        print(
            f"invalid client name {client!r}: use up to 64 lower-case letters, digits, - and _, "
            "starting with a letter or digit",
            file=sys.stderr,
        )
        return 2
    print(f"API key for the client (not shown again): {key}")
    print(f"Add this to {PREFIX}API_KEYS or {PREFIX}ADMIN_KEYS: {entry}")
    return 0


def _serve() -> int:
    try:
        settings = Settings()
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_input=False):
            # An error that involves several settings has no location. Its message names them.
            location = f"{PREFIX}{detail['loc'][0]}: ".upper() if detail["loc"] else ""
            print(location + detail["msg"].removeprefix("Value error, "), file=sys.stderr)
        return 2
    configure_logging(settings.log_level)
    if settings.workers > 1:
        from app.server.supervisor import Supervisor

        return Supervisor(settings).run()
    from app.server.uvicorn_server import serve  # imported late: the supervisor does not need the application

    return serve(settings)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

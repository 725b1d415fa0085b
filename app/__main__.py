"""`python -m app`: settings from the environment, then one server process or several, until SIGTERM or Ctrl-C."""

import sys

from pydantic import ValidationError

from app.settings import PREFIX, Settings
from app.telemetry import log_to_stderr


def main() -> int:
    try:
        settings = Settings()
    except ValidationError as error:
        for each in error.errors(include_url=False, include_input=False):
            name = PREFIX + str(each["loc"][0]).upper() if each["loc"] else "settings"
            print(f"{name}: {each['msg']}", file=sys.stderr)
        return 2
    log_to_stderr(settings.log_level)
    if settings.workers > 1:
        from app.workers import Supervisor

        return Supervisor(settings).run()
    from app.server import serve  # only here: a supervisor needs nothing of it

    return serve(settings)


if __name__ == "__main__":
    sys.exit(main())

"""A PEP 517 build backend that refuses to build, because Pricecast is an application and not a library.

A wheel would put the packages `app` and `training` into its user's environment, where they could replace packages of
the same names. Build tools print the message of `SystemExit` without a traceback.
"""

from typing import NoReturn

MESSAGE = """\
Pricecast cannot be installed as a package: its packages are called `app` and `training`, names that
other code may use too.
Run it from a checkout instead:
    make serve                            serve the shipped models on http://127.0.0.1:8000
    docker compose up --build --wait      the same in a container
    make .venv/train                      install what training needs, then run .venv/bin/python -m training
"""


def refuse(*_: object, **__: object) -> NoReturn:
    """Stop the build.

    Raises:
        SystemExit: Always, with the commands that run Pricecast.
    """
    raise SystemExit(MESSAGE)


build_wheel = build_editable = build_sdist = refuse
# Tools call these hooks before the build. Refusing here spares the user an attempt to resolve the dependencies.
get_requires_for_build_wheel = get_requires_for_build_editable = get_requires_for_build_sdist = refuse
prepare_metadata_for_build_wheel = prepare_metadata_for_build_editable = refuse

"""`python -m tests.transcript.record`: record the responses of this working tree in `recorded.json`.

Record again only when behavior or a shipped model changes on purpose, and describe the change in the commit message.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from tests.transcript.responses import reduce_response
from tests.transcript.servers import replay

RECORDED = Path(__file__).with_name("recorded.json")


def read_recorded() -> dict[str, Any]:
    """Read the recorded responses, by the request's name."""
    responses: dict[str, Any] = json.loads(RECORDED.read_text(encoding="utf-8"))
    return responses


def replay_and_reduce() -> dict[str, Any]:
    """Send every request and return the reduced responses, by the request's name."""
    return {name: reduce_response(request, response) for name, (request, response) in replay().items()}


def main() -> None:
    responses = replay_and_reduce()
    lines = (
        f"{json.dumps(name)}: {json.dumps(response, ensure_ascii=False, separators=(',', ':'))}"
        for name, response in responses.items()
    )
    RECORDED.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"{len(responses)} responses:", dict(sorted(Counter(each["status"] for each in responses.values()).items())))


if __name__ == "__main__":
    main()

"""`python -m tests.transcript.record`: record the answers of this working tree in `recorded.json`.

`recorded.json` in the repository was recorded from the commit before the package layout changed. Record it again only
when behaviour or a shipped model changes on purpose, and say in the commit what has changed.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from tests.transcript.answers import reduce_answer
from tests.transcript.servers import replay

RECORDED = Path(__file__).with_name("recorded.json")


def recorded_answers() -> dict[str, Any]:
    """Read the recorded answers, by the request's name."""
    answers: dict[str, Any] = json.loads(RECORDED.read_text(encoding="utf-8"))
    return answers


def replayed_answers() -> dict[str, Any]:
    """Send every request and return the reduced answers, by the request's name."""
    return {name: reduce_answer(request, answer) for name, (request, answer) in replay().items()}


def main() -> None:
    answers = replayed_answers()
    lines = (
        f"{json.dumps(name)}: {json.dumps(answer, ensure_ascii=False, separators=(',', ':'))}"
        for name, answer in answers.items()
    )
    RECORDED.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"{len(answers)} answers:", dict(sorted(Counter(each["status"] for each in answers.values()).items())))


if __name__ == "__main__":
    main()

"""A transcript of requests and answers, which shows that a change of the code did not change its behaviour.

`requests.py` generates the requests, `servers.py` starts the servers that they are sent to, `answers.py` reduces each
answer to what must not change, and `recorded.json` holds those of the commit before the package layout changed.
`test_transcript.py` sends the requests again and compares the answers.

Record the transcript again only when behaviour or a shipped model changes on purpose:

    python -m tests.transcript.record
"""

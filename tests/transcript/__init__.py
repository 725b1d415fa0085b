"""Recorded responses that detect behavior changes.

`request_list.py` generates the requests. `servers.py` starts the servers and sends them. `responses.py` reduces each
response to the parts that must not change. `recorded.json` has the accepted responses. `test_transcript.py` sends the
requests again and compares the responses.

Record the transcript again only when behavior or a shipped model changes on purpose:

    python -m tests.transcript.record
"""

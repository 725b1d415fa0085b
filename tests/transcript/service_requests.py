"""All requests other than forecasts: pages, probes, models, authentication and rate limits."""

from tests.transcript.request_list import ALLOWED_ORIGIN, BODY_LIMIT_BYTES, JSON, RequestList, bearer
from tests.transcript.series import walk

PREDICT = {"prices": walk(900), "levels": [80]}
PROBES = ("/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready")
OTHER_SITE = {"Origin": "https://other.example"}


def add_pages(requests: RequestList) -> None:
    """Add requests for pages, probes and metrics, and for paths that do not exist."""
    for path in (*PROBES, "/", "/docs", "/openapi.json", "/metrics"):
        requests.get(f"page{path}", path)
    for path in ("/absent", "/redoc", "/health", "/v2/absent", "/v1/models", "/static-offline-docs/absent.js"):
        requests.get(f"page{path}", path)
    requests.send("page/head-live", "HEAD", "/health/live")
    requests.send("page/post-live", "POST", "/health/live")
    requests.send("page/post-metrics", "POST", "/metrics")
    requests.send("page/delete-v2", "DELETE", "/v2")
    requests.get("page/cors", "/health/live", {"Origin": ALLOWED_ORIGIN})


def add_models(requests: RequestList) -> None:
    """Add requests that list models, describe one, and change the live version and back."""
    requests.get("models/all", "/models", is_outlined=True)
    for path in ("default", "tutorial", "default/versions/2", "default/versions/3", "tutorial/versions/2", "spare"):
        requests.get(f"models/{path}", f"/models/{path}", is_outlined=True)
    for path in (
        "absent", "broken", "undecided", "default/versions/9", "default/versions/1", "absent/versions/1",
        "broken/versions/1", "Default", "default/versions", "default@3", "default@9",
    ):  # fmt: skip
        requests.get(f"models/{path}", f"/models/{path}", is_outlined=True)
    requests.send("models/post", "POST", "/models", b"{}", headers=JSON)
    requests.send("models/delete", "DELETE", "/models/default")
    requests.get("models/get-load", "/models/default/load")

    load = "/models/default/load"
    for name, content in {
        "empty-object": {}, "null": None, "version-0": {"version": "0"}, "version-number": {"version": 3},
        "version-text": {"version": "latest"}, "unknown-field": {"version": "3", "force": True},
    }.items():  # fmt: skip
        requests.post(f"models/load-{name}", load, content)
    requests.send("models/load-half", "POST", load, b"{", headers=JSON)
    requests.send("models/load-media-type", "POST", load, b'{"version": "3"}')
    requests.send("models/load-coding", "POST", load, b"{}", headers=JSON | {"Content-Encoding": "br"})
    announced = JSON | {"Content-Length": str(BODY_LIMIT_BYTES + 1)}
    requests.send("models/load-too-large", "POST", load, b"", headers=announced, sending="stalled")
    requests.post("models/load-version-absent", load, {"version": "9"})
    requests.post("models/load-model-absent", "/models/absent/load", {"version": "1"})
    requests.post("models/load-other-identity", load, {"version": "1"})
    requests.post("models/load-altered-file", "/models/spare/load", {"version": "2"})
    requests.post("models/load-invalid-manifest", "/models/broken/load", {"version": "1"})
    requests.get("models/failures", "/models/default", is_outlined=True)
    requests.post("models/load-3", load, {"version": "3"})
    requests.post("models/predict-with-3", "/predict", PREDICT)
    requests.post("models/predict-with-2-by-name", "/predict", PREDICT | {"model": "default@2"})
    requests.get("models/all-with-3", "/models", is_outlined=True)
    requests.post("models/load-2", load, {"version": "2"})
    requests.post("models/load-2-again", load, {"version": "2"})
    requests.post("models/predict-with-2", "/predict", PREDICT)


def add_repository(requests: RequestList) -> None:
    """Add requests to the Open Inference Protocol's metadata and repository."""
    for path in (
        "/v2", "/v2/models", "/v2/models/default", "/v2/models/tutorial", "/v2/models/default/versions/3",
        "/v2/models/default/ready", "/v2/models/default/versions/2/ready", "/v2/models/spare",
        "/v2/models/absent", "/v2/models/default/versions/9", "/v2/models/broken", "/v2/models/broken/versions/1",
        "/v2/models/broken/ready", "/v2/models/spare/versions/2/ready", "/v2/models/absent/ready",
        "/v2/models/default/versions/9/ready", "/v2/models/undecided/ready", "/v2/models/default/config",
    ):  # fmt: skip
        requests.get(f"metadata{path}", path)

    index = "/v2/repository/index"
    requests.send("repository/index", "POST", index)
    requests.post("repository/index-of-ready", index, {"ready": True})
    requests.post("repository/index-of-all", index, {"ready": False, "unknown": 1})
    requests.post("repository/index-text", index, {"ready": "yes"})
    requests.send("repository/index-array", "POST", index, b"[]", headers=JSON)
    requests.send("repository/index-half", "POST", index, b"{", headers=JSON)
    requests.get("repository/index-get", index)
    requests.send("repository/index-of-another-site", "POST", index, headers=OTHER_SITE)
    requests.send("repository/index-of-an-allowed-site", "POST", index, headers={"Origin": ALLOWED_ORIGIN})
    announced = JSON | {"Content-Length": str(BODY_LIMIT_BYTES + 1)}
    requests.send("repository/index-too-large", "POST", index, b"", headers=announced, sending="stalled")

    model = "/v2/repository/models/spare"
    requests.send("repository/load-of-another-site", "POST", f"{model}/load", headers=OTHER_SITE)
    requests.send("repository/unload-of-another-site", "POST", f"{model}/unload", headers=OTHER_SITE)
    requests.post("repository/load-config", f"{model}/load", {"parameters": {"config": "{}", "file:1/model": "x"}})
    requests.post("repository/load-version-number", f"{model}/load", {"parameters": {"version": 1}})
    requests.post("repository/load-version-absent", f"{model}/load", {"parameters": {"version": "9"}})
    requests.post("repository/load-altered-file", f"{model}/load", {"parameters": {"version": "2"}})
    requests.send("repository/load-absent", "POST", "/v2/repository/models/absent/load")
    requests.send("repository/load-invalid-manifest", "POST", "/v2/repository/models/broken/load")
    requests.send("repository/load-undecided", "POST", "/v2/repository/models/undecided/load")
    requests.post("repository/unload-text", f"{model}/unload", {"parameters": {"unload_dependents": "no"}})
    requests.send("repository/unload", "POST", f"{model}/unload")
    requests.send("repository/unload-again", "POST", f"{model}/unload")
    requests.get("repository/ready-when-unloaded", "/v2/models/spare/ready")
    requests.get("repository/metadata-when-unloaded", "/v2/models/spare")
    requests.post("repository/predict-when-unloaded", "/predict", {"prices": walk(910), "model": "spare"})
    requests.send("repository/index-when-unloaded", "POST", index)
    requests.send("repository/load", "POST", f"{model}/load")
    requests.post("repository/load-version", f"{model}/load", {"parameters": {"version": "1"}})
    requests.get("repository/ready-when-loaded", "/v2/models/spare/ready")
    requests.post("repository/unload-with-dependents", f"{model}/unload", {"parameters": {"unload_dependents": True}})


def keyed_requests() -> RequestList:
    """Generate requests to a server that requires keys.

    `anonymous` sends no key, `client` has an API key, the key of `expired` has expired, and `admin` has an admin key.
    """
    requests = RequestList("keyed")
    for path in (*PROBES, "/", "/docs", "/openapi.json"):
        requests.get(f"open{path}", path)
    senders = {
        "anonymous": {},
        "scheme": {"Authorization": "Basic c2hvcDpzZWNyZXQ="},
        "no-key": {"Authorization": "Bearer "},
        "unknown": {"Authorization": "Bearer pc_unknown"},
        "expired": bearer("expired"),
        "client": bearer("client"),
        "lower-case": {"authorization": bearer("client")["Authorization"].replace("Bearer", "bearer")},
        "admin": bearer("admin"),
    }
    for name, headers in senders.items():
        requests.post(f"predict-by-{name}", "/predict", PREDICT, headers)
    for name in ("anonymous", "expired", "client"):
        for path in ("/models", "/v2", "/v2/models/default/ready", "/metrics", "/absent", "/v2/absent"):
            requests.get(f"get-by-{name}{path}", path, senders[name], is_outlined=path == "/models")
    for name in ("anonymous", "expired", "client", "admin"):
        headers = senders[name]
        requests.post(f"load-by-{name}", "/models/default/load", {"version": "2"}, headers)
        requests.send(f"v2-load-by-{name}", "POST", "/v2/repository/models/default/load", headers=headers)
        requests.send(f"v2-unload-by-{name}", "POST", "/v2/repository/models/spare/unload", headers=headers)
        requests.send(f"v2-index-by-{name}", "POST", "/v2/repository/index", headers=headers)
    requests.post("bad-body-by-anonymous", "/predict", {})
    requests.post("bad-body-by-client", "/predict", {}, bearer("client"))
    requests.post("bad-load-by-client", "/models/default/load", {}, bearer("client"))
    requests.post("bad-load-by-admin", "/models/absent/load", {"version": "1"}, bearer("admin"))
    return requests


def limited_requests() -> RequestList:
    """Generate requests to a server that accepts one request per client during the whole replay."""
    requests = RequestList("limited")
    for path in PROBES:
        requests.get(f"before{path}", path)
    requests.post("first", "/predict", PREDICT)
    requests.post("second", "/predict", PREDICT)
    requests.post("bad", "/predict", {})
    for path in ("/models", "/v2/models", "/metrics", "/absent"):
        requests.get(f"over{path}", path)
    for path in PROBES:
        requests.get(f"after{path}", path)
    return requests


def unready_requests() -> RequestList:
    """Generate requests to a server whose default model cannot be loaded, with an admin key and no API keys."""
    requests = RequestList("unready")
    for path in PROBES:
        requests.get(f"probe{path}", path)
    requests.post("predict", "/predict", PREDICT)
    requests.post("predict-bad-body", "/predict", {})
    requests.post("batch", "/predict/batch", {"series": [PREDICT | {"id": "A"}]})
    requests.post("batch-good", "/predict/batch", {"series": [{"prices": walk(920)}]})
    requests.post("predict-by-name", "/predict", PREDICT | {"model": "default"})
    requests.get("models", "/models", is_outlined=True)
    requests.send("index", "POST", "/v2/repository/index")
    for name, headers in {
        "anonymous": {},
        "unknown": {"Authorization": "Bearer pc_unknown"},
        "admin": bearer("admin"),
    }.items():
        requests.post(f"load-by-{name}", "/models/default/load", {"version": "2"}, headers)
        requests.send(f"unload-by-{name}", "POST", "/v2/repository/models/tutorial/unload", headers=headers)
    return requests

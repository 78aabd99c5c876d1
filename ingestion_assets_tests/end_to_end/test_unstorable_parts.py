"""A configuration that no document can hold, in one claim with a good payload: it fails alone, and nothing quotes it."""

import json

import httpx

from ingestion_assets_tests.servers import wait_until
from ingestion_assets_tests.stacks import RunningStack

SECRET = "not-to-be-shown-47110815"


def test_it_is_a_reject_of_its_own_and_stands_in_no_log(stack: RunningStack) -> None:
    def message(uuid: str) -> dict[str, object]:
        return {"type": "user", "uuid": uuid, "sessionId": f"unstorable-{uuid}", "message": {"content": "x"}}

    config = {"env": {"KEY": SECRET}, "x": "x" * (17 * 2**20)}
    poison = {"messages": [message("p")], "config": {"config": config, "userId": "unstorable"}}
    headers = {"X-API-Key": stack.admin_token, "Prefer": "respond-async"}
    with httpx.Client(base_url=stack.url, headers=headers, timeout=60) as client:
        receipts = [
            client.post("/api/v1/ingest/batch", json=body).json()["id"]
            for body in (poison, {"messages": [message("n")]})
        ]
        seen = {}

        def done() -> bool:
            seen.update({one: client.get(f"/api/v1/receipts/{one}").json() for one in receipts})
            return all(one["state"] in ("done", "failed") for one in seen.values())

        wait_until(done, seconds=90, what="both payloads to be done")
        of_poison, of_neighbour = (seen[one] for one in receipts)
        rejects = client.get("/api/v1/rejects", params={"receipt": receipts[0]}).json()["items"]
    assert (of_poison["state"], of_neighbour["state"]) == ("done", "done")
    stats = of_poison["result"]["stats"]
    assert (stats["messages_processed"], stats["config_updated"], stats["config_failed"]) == (1, False, True)
    assert [(one["kind"], one["code"]) for one in rejects] == [("invalid", "too_large")]
    assert SECRET not in json.dumps(seen)
    logs = [path for path in stack.home.rglob("*.log") if path.is_file()]
    assert logs
    assert not [path for path in logs if SECRET.encode() in path.read_bytes()]

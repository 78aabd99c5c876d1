"""`POST /api/v1/drops/{zone}`: what is taken, what is refused and how that is said."""

import json
from collections.abc import Mapping

import httpx
import pytest
import sqlalchemy as sa

from ingestion_assets.zones import in_force
from ingestion_assets.zones.document import ByValue, ZoneDocument, ZoneError
from ingestion_assets.zones.framing import MEDIA_TYPES, kind_of
from ingestion_assets_tests.frontdoor.conftest import Front, serving, settings_for
from ingestion_assets_tests.servers import wait_until
from ingestion_assets_tests.zones.conftest import RECORD, Publish

TREE = {
    "type": "object",
    "properties": {"children": {"type": "array", "items": {"$ref": "#"}}, "leaf": {"$ref": "#/$defs/Leaf"}},
    "$defs": {"Leaf": {"type": "string"}},
}
ASYNC = {"Prefer": "respond-async"}


@pytest.fixture(scope="module", autouse=True)
def zones(publish: Publish) -> None:
    publish("shop")
    publish("deep", path="$.items[*]")
    publish("trees", schema=TREE)
    publish("stores", partitions=ByValue(by="$.store", keys="stores"))


def _landed(
    client: httpx.Client, zone: str, body: bytes | str, media_type: str, **headers: str
) -> Mapping[str, object]:
    answer = client.post(
        f"/api/v1/drops/{zone}", content=body, headers={"Content-Type": media_type, **ASYNC, **headers}
    )
    assert answer.status_code == 202, answer.text
    return answer.json()


@pytest.mark.parametrize(
    ("body", "media_type", "records"),
    [
        ('{"id": "1"}', "application/json", 1),
        ('[{"id": "1"}, {"id": "2"}]', "application/json", 2),
        ('[{"id": "1"}]', "application/vnd.shop+json; charset=utf-8", 1),
        ('{"id": "1"}\n\n{"id": "2"}\r\nnot json\n', "application/x-ndjson", 3),
        ("id,note\n1,a\n2,b\n", "text/csv", 2),
    ],
)
def test_records_are_counted_and_landed_as_they_came(
    client: httpx.Client, front: Front, body: str, media_type: str, records: int
) -> None:
    receipt = _landed(client, "shop", body, media_type)
    assert (receipt["flow"], receipt["records"], receipt["state"]) == ("shop", records, "landed")
    query = sa.text("SELECT attributes, size_bytes FROM ingestion.drops WHERE id = :id")

    def row() -> sa.Row | None:
        with front.engine.connect() as connection:
            return connection.execute(query, {"id": receipt["id"]}).one_or_none()

    wait_until(lambda: row() is not None, seconds=5, what="the payload's row")
    found = row()
    assert found is not None
    assert found.size_bytes == len(body.encode())
    assert found.attributes["media_type"] == media_type


@pytest.mark.parametrize("media_type", sorted(MEDIA_TYPES))
def test_every_media_type_that_can_be_framed_is_taken(client: httpx.Client, media_type: str) -> None:
    body = "id\n1" if kind_of(media_type) == "csv" else '{"id": "1"}'
    assert _landed(client, "shop", body, media_type)["records"] == 1


def test_records_that_lie_deeper_are_counted(client: httpx.Client) -> None:
    body = json.dumps({"items": [{"id": "1"}, {"id": "2"}, {"id": "3"}], "more": 1})
    assert _landed(client, "deep", body, "application/json")["records"] == 3


@pytest.mark.parametrize(
    ("body", "media_type", "status", "said"),
    [
        ("[{", "application/json", 400, "no records"),
        ("", "application/json", 400, "empty"),
        ("[]", "application/json", 422, "no record"),
        ("<a/>", "application/xml", 415, "application/x-ndjson"),
        ("neither\nnor\n", "application/x-ndjson", 400, "no line"),
    ],
)
def test_what_is_no_payload_is_refused_with_its_reason(
    client: httpx.Client, body: str, media_type: str, status: int, said: str
) -> None:
    answer = client.post("/api/v1/drops/shop", content=body, headers={"Content-Type": media_type})
    assert (answer.status_code, said in answer.json()["detail"]) == (status, True), answer.text


def test_a_zone_that_is_not_there_is_named_as_such(client: httpx.Client) -> None:
    answer = client.post("/api/v1/drops/nowhere", json=[{"id": "1"}])
    assert answer.status_code == 404
    assert "/api/v1/zones" in answer.json()["detail"]


def test_a_key_needs_the_zones_scope(front: Front, client: httpx.Client) -> None:
    with front.client(front.key("conversations")) as other:
        assert other.post("/api/v1/drops/shop", json=[{"id": "1"}]).status_code == 403
    assert client.post("/api/v1/drops/shop", json=[{"id": "1"}], headers=ASYNC).status_code == 202
    with front.client(None) as nobody:
        assert nobody.post("/api/v1/drops/shop", json=[{"id": "1"}]).status_code == 401


def test_the_same_key_and_body_give_the_same_receipt(client: httpx.Client) -> None:
    first = _landed(client, "shop", '{"id": "k"}', "application/json", **{"Idempotency-Key": "one"})
    again = _landed(client, "shop", '{"id": "k"}', "application/json", **{"Idempotency-Key": "one"})
    assert first["id"] == again["id"]


def test_a_payload_belongs_to_the_partition_that_its_records_name(client: httpx.Client) -> None:
    body = [{"id": "1", "store": "north"}, {"id": "2", "store": "north"}]
    assert _landed(client, "stores", json.dumps(body), "application/json")["partition"] == "north"
    assert _landed(client, "stores", '{"id": 1, "store": 7}', "application/json")["partition"] == "7"
    mixed = client.post("/api/v1/drops/stores", json=[*body, {"id": "3", "store": "south"}])
    assert mixed.status_code == 422
    assert "record 2" in mixed.json()["detail"]
    none = client.post("/api/v1/drops/stores", json=[{"id": "3"}])
    assert none.status_code == 422
    assert "record 0" in none.json()["detail"]


def test_a_line_that_cannot_be_read_harms_no_other_of_its_partition(client: httpx.Client) -> None:
    deep = b'{"store": "north", "x": ' + b"[" * 5000 + b"]" * 5000 + b"}"
    for bad in (deep, b"nonsense", b'{"store": "north", "note": "\\ud83d"}'):
        receipt = _landed(
            client, "stores", b'{"id": "1", "store": "north"}\n%b\n' % bad, "application/x-ndjson"
        )
        assert (receipt["partition"], receipt["records"]) == ("north", 2)
    alone = client.post(
        "/api/v1/drops/stores", content=deep, headers={"Content-Type": "application/x-ndjson"}
    )
    assert alone.status_code in {400, 422}, alone.text


def test_zones_are_listed_for_those_who_may_send_to_them(front: Front, client: httpx.Client) -> None:
    assert {"deep", "shop", "stores"} <= {one["name"] for one in client.get("/api/v1/zones").json()["items"]}
    with front.client(front.key("conversations")) as other:
        assert other.get("/api/v1/zones").json()["items"] == []
        assert other.get("/api/v1/zones/shop").status_code == 403
    shown = client.get("/api/v1/zones/shop").json()
    assert shown["record"]["required"] == ["id"]
    assert shown["url"] == "/api/v1/drops/shop"


def test_the_api_document_has_the_records_schema_and_the_page_the_zone(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    assert document["components"]["schemas"]["shop_record"]["required"] == ["id"]
    tree = document["components"]["schemas"]["trees_record"]["properties"]
    assert tree["children"]["items"] == {"$ref": "#/components/schemas/trees_record"}
    assert tree["leaf"] == {"$ref": "#/components/schemas/trees_record/$defs/Leaf"}
    own = document["paths"]["/api/v1/drops/shop"]["post"]
    assert own["requestBody"]["content"].keys() == {"application/json", "application/x-ndjson", "text/csv"}
    assert "zone" not in {one["name"] for one in own["parameters"]}
    flows = {one["name"]: one for one in client.get("/api/v1/overview").json()["flows"]}
    assert flows["shop"]["assets_url"].endswith("/locations/shop/asset-groups/shop/lineage")
    assert "/api/v1/drops/shop" in flows["shop"]["curl"]
    assert "shop" in client.get("/health").json()["zones"]


def test_zones_are_known_after_a_restart_without_postgresql(front: Front) -> None:
    nowhere = front.settings.postgres_url.rpartition("@")[0] + "@127.0.0.1:9/none"
    settings = settings_for(home=front.settings.home, postgres_url=nowhere)
    with serving(settings) as alone, alone.client() as client:

        def taken() -> bool:
            answer = client.post("/api/v1/drops/shop", json=[{"id": "offline"}], headers=ASYNC)
            return answer.status_code == 202 and answer.json()["registered"] is False

        wait_until(taken, seconds=15, what="the zone to be taken from the note in the home")


def test_a_zone_that_is_removed_takes_nothing_more(
    front: Front, client: httpx.Client, publish: Publish
) -> None:
    publish("short")
    with front.engine.begin() as connection:
        assert in_force.remove(connection, "short")
        assert not in_force.remove(connection, "short")
    wait_until(
        lambda: "short" not in client.get("/health").json()["zones"], seconds=10, what="the zone to go"
    )
    assert client.post("/api/v1/drops/short", json={"id": "3"}).status_code == 404


def test_a_new_zone_that_is_refused_is_told_of_until_it_is_in_force(
    front: Front, client: httpx.Client, publish: Publish
) -> None:
    def told() -> dict[str, str]:
        return client.get("/api/v1/zones").json()["not_in_force"]

    with front.engine.begin() as connection:
        in_force.refuse(connection, "fresh", "The zone fresh has no table.", location="shop")
    wait_until(lambda: told() == {"fresh": "The zone fresh has no table."}, seconds=10, what="the refusal")
    assert client.get("/health").json()["zones_refused"] == told()
    publish("fresh")
    wait_until(lambda: not told(), seconds=10, what="the refusal to go")


def test_no_zone_has_the_name_of_a_flow(front: Front, client: httpx.Client) -> None:
    document = ZoneDocument(name="entities", asset="records", schema=RECORD, location="shop")
    with front.engine.begin() as connection, pytest.raises(ZoneError, match="name of a flow"):
        in_force.publish(connection, document, secrets=(), settings=front.settings, prepare=lambda: None)
    with front.engine.begin() as connection:  # as a code location does that lacks the flow
        connection.execute(
            sa.text(
                "INSERT INTO ingestion.zones (name, location, version, document) VALUES ('entities', 'shop', '1', :document)"
            ),
            {"document": document.encoded().decode()},
        )
    wait_until(
        lambda: "entities" in client.get("/health").json()["zones_refused"],
        seconds=10,
        what="the zone to be left out",
    )
    assert client.post("/api/v1/drops/entities", json={"id": "1"}).status_code == 404
    with front.engine.begin() as connection:
        in_force.remove(connection, "entities")


def test_a_charset_that_is_none_is_refused(client: httpx.Client) -> None:
    for name in ("undefined", "punycode", "nonsense"):
        headers = {"Content-Type": f"application/json; charset={name}"}
        assert client.post("/api/v1/drops/shop", content=b'{"id": "1"}', headers=headers).status_code == 400
    headers = {"Content-Type": "application/json; charset=iso-8859-1", **ASYNC}
    assert (
        client.post(
            "/api/v1/drops/shop", content='{"id": "é"}'.encode("latin-1"), headers=headers
        ).status_code
        == 202
    )

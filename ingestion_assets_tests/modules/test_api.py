"""The endpoints on real stores: syncs, holds, undo, limits, audit, and what is known of security."""

import gzip
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
import redis
import sqlalchemy as sa

from ingestion_assets.modules.releases import parse_history
from ingestion_assets.modules.security import keep_history
from ingestion_assets_tests.modules.front import Front, serving
from ingestion_assets_tests.modules.replay import body, module, tables


@pytest.fixture(scope="module")
def front(
    postgres_url: str, redis_url_of_module: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Front]:
    home = tmp_path_factory.mktemp("home")
    with serving(home=home, postgres_url=postgres_url, redis_url=redis_url_of_module) as running:
        yield running


@pytest.fixture(scope="module")
def redis_url_of_module(redis_server: str) -> Iterator[str]:
    yield redis_server
    with redis.Redis.from_url(redis_server) as client:
        client.flushall()  # sites of other databases have the same numbers


@pytest.fixture
def site(front: Front) -> Iterator[tuple[int, httpx.Client]]:
    site_id, key = front.site()
    with front.client(key) as client:
        yield site_id, client


def test_a_sync_answers_with_what_it_changed(site: tuple[int, httpx.Client]) -> None:
    site_id, client = site
    first = client.post(f"/sites/{site_id}/modules/sync", json=body([module("a"), module("b", "3.x-dev")]))
    assert first.status_code == 200, first.text
    answer = first.json()
    assert answer["success"] and answer["sync_id"].startswith("sync_")
    assert (answer["site_id"], answer["processed_count"], answer["new_modules"]) == (site_id, 2, 2)
    assert answer["next_sync_after"] is not None
    second = client.post(f"/sites/{site_id}/modules/sync", json=body([module("a", "1.0.1")], minute=1)).json()
    assert (second["updated_modules"], second["removed_modules"]) == (1, 1)
    stale = client.post(f"/sites/{site_id}/modules/sync", json=body([module("z")])).json()
    newer = second["sync_id"].removeprefix("sync_")
    counted = [stale[f"{name}_modules"] for name in ("new", "unchanged", "superseded")]
    assert (stale["success"], stale["state"], stale["superseded_by"], counted) == (
        False, "superseded", newer, [0, 0, 1],
    )  # fmt: skip
    assert second["sync_id"] in stale["warnings"][0]
    outcomes = client.get(f"/receipts/{stale['sync_id'].removeprefix('sync_')}/records").json()["items"]
    assert [(one["status"], one["id"], one["superseded_by"]) for one in outcomes] == [
        ("superseded", "z", newer)
    ]
    items = client.get(f"/sites/{site_id}/modules").json()["items"]
    assert [(one["machine_name"], one["removed_at"] is None) for one in items] == [("a", True), ("b", False)]
    history = client.get(f"/sites/{site_id}/modules/a/history").json()["items"]
    assert [(one["from_version"], one["to_version"]) for one in history] == [
        (None, "1.0.0"),
        ("1.0.0", "1.0.1"),
    ]
    assert history[1]["sync_id"] == second["sync_id"]
    then = client.get(f"/sites/{site_id}/modules", params={"as_of": "2026-01-01T00:00:30Z"}).json()["items"]
    assert [one["machine_name"] for one in then] == ["a", "b"]
    listed = client.get(f"/sites/{site_id}/syncs").json()["items"]
    assert [one["state"] for one in listed] == ["superseded", "applied", "applied"]
    assert (listed[0]["superseded_by"], listed[0]["counts"]["superseded"]) == (second["sync_id"], 1)
    receipt = client.get(f"/receipts/{second['sync_id'].removeprefix('sync_')}").json()
    assert receipt["result"]["updated_modules"] == 1


@pytest.mark.parametrize(
    ("change", "loc"),
    [
        ({"modules": []}, ["body", "modules"]),
        ({"modules": [module("a", "not a version")]}, ["body", "modules", 0, "version"]),
        ({"modules": [module("a", type="other")]}, ["body", "modules", 0, "type"]),
        ({"modules": [module("a"), module("a")]}, ["body", "modules", 1, "machine_name"]),
        ({"modules": [module("a", description="\0")]}, ["body", "modules", 0, "description"]),
        ({"modules": [module(f"m{n}") for n in range(2001)]}, ["body", "modules"]),
        ({"drupal_version": "x"}, ["body", "drupal_version"]),
        ({"drupal_version": "8.x-1.0"}, ["body", "drupal_version"]),
        ({"sync_timestamp": "0001-01-01T00:00:00+14:00"}, ["body", "sync_timestamp"]),
        ({"sync_timestamp": "9999-12-31T23:59:59-14:00"}, ["body", "sync_timestamp"]),
        ({"modules": [module("a", "dev-" + "x" * 260)]}, ["body", "modules", 0, "version"]),
        ({"sync_type": "half"}, ["body", "sync_type"]),
        ({"sync_timestamp": "2999-01-01T00:00:00Z"}, ["body", "sync_timestamp"]),
        ({"site_info": {"a": ["\0"]}}, ["body", "site_info", "a", 0]),
    ],
)
def test_what_is_not_valid_is_refused_and_not_landed(
    front: Front, site: tuple[int, httpx.Client], change: dict, loc: list
) -> None:
    site_id, client = site
    answer = client.post(f"/sites/{site_id}/modules/sync", json=body([module("a")]) | change)
    assert answer.status_code == 422, answer.text
    assert loc in [one["loc"] for one in answer.json()["errors"]]
    with front.engine.connect() as connection:
        landed = connection.scalar(
            sa.text("SELECT count(*) FROM ingestion.drops WHERE flow = 'modules' AND partition = :site"),
            {"site": str(site_id)},
        )
    assert landed == 0


def test_keys_and_sites(front: Front, site: tuple[int, httpx.Client]) -> None:
    site_id, client = site
    other, _ = front.site()
    sync = body([module("a")])
    assert client.post(f"/sites/{other}/modules/sync", json=sync).status_code == 403
    with front.client(None) as nobody, front.client() as admin:
        assert nobody.post(f"/sites/{site_id}/modules/sync", json=sync).status_code == 401
        assert admin.post("/sites/999999/modules/sync", json=sync).status_code == 404
        assert admin.get("/sites/999999/modules").status_code == 404
        assert admin.patch(f"/sites/{other}", json={"active": False}).json()["active"] is False
        assert admin.post(f"/sites/{other}/modules/sync", json=sync).status_code == 404
        assert client.post("/sites", json={"name": "x"}).status_code == 403
        listed = admin.get("/sites", params={"limit": 500}).json()["items"]
        assert {site_id, other} <= {one["id"] for one in listed}
        outcomes = [one["outcome"] for one in admin.get(f"/sites/{site_id}/attempts").json()["items"]]
    assert outcomes == ["not_allowed"]
    assert client.post(f"/sites/{site_id}/modules/sync", content=b"{").status_code == 415
    headers = {"Content-Type": "application/json"}
    assert client.post(f"/sites/{site_id}/modules/sync", content=b"{", headers=headers).status_code == 400


def test_an_attempt_is_noted_whatever_is_wrong_with_it(front: Front, site: tuple[int, httpx.Client]) -> None:
    site_id, client = site
    url = f"/sites/{site_id}/modules/sync"
    for parameters in ({"confirm_removal": "true"}, {"confirm_removals": "perhaps"}):
        assert client.post(url, params=parameters, json=body([module("a")])).status_code == 422
    assert client.post("/sites/town-hall/modules/sync", json=body([module("a")])).status_code == 422
    with front.client() as admin:
        noted = admin.get(f"/sites/{site_id}/attempts").json()["items"]
    assert [(one["status"], one["outcome"]) for one in noted] == [(422, "invalid")] * 2
    assert ["confirm_removals" in one["detail"] for one in noted] == [True, True]


def test_bodies_of_sites_are_read_as_all_others(front: Front, site: tuple[int, httpx.Client]) -> None:
    as_json, good = {"Content-Type": "application/json"}, b'{"name": "packed", "active": true}'
    with front.client() as admin, front.client(None) as nobody:
        for method, path in (("POST", "/sites"), ("PATCH", f"/sites/{site[0]}")):
            assert nobody.request(method, path, content=b"{", headers=as_json).status_code == 401
            assert admin.request(method, path, content=b"{", headers=as_json).status_code == 400
            assert admin.request(method, path, content=good).status_code == 415
            deep = b"[" * 1000 + b"]" * 1000
            assert admin.request(method, path, content=deep, headers=as_json).status_code == 413
            refused = admin.request(method, path, json={"name": "", "active": "perhaps"})
            assert (refused.status_code, refused.json()["errors"][0]["loc"][0]) == (422, "body")
            packed = as_json | {"Content-Encoding": "gzip"}
            assert admin.request(method, path, content=gzip.compress(good), headers=packed).is_success


def test_a_held_sync_waits_for_its_confirmation(site: tuple[int, httpx.Client]) -> None:
    site_id, client = site
    url = f"/sites/{site_id}/modules/sync"
    client.post(url, json=body([module(f"m{n}") for n in range(20)])).raise_for_status()
    held = client.post(url, json=body([module("m0")], minute=1))
    assert (held.status_code, held.json()["state"]) == (202, "held")
    assert len(client.get(f"/sites/{site_id}/modules", params={"removed": False}).json()["items"]) == 20
    sync_id = held.json()["result"]["sync_id"]
    confirmed = client.post(f"/sites/{site_id}/syncs/{sync_id}/confirm")
    assert (confirmed.status_code, confirmed.json()["removed_modules"]) == (200, 19)
    assert client.post(f"/sites/{site_id}/syncs/{sync_id}/confirm").status_code == 409
    again = client.post(url, json=body([module(f"m{n}") for n in range(20)], minute=2)).json()
    assert again["returned_modules"] == 19
    before = client.post(url, params={"confirm_removals": True}, json=body([module("m1")], minute=3))
    assert (before.status_code, before.json()["removed_modules"]) == (200, 19)


def test_an_idempotency_key_counts_for_one_site_and_its_options(front: Front) -> None:
    (one, _), (other, _) = front.site(), front.site()
    first, less, key = body([module(f"m{n}") for n in range(20)]), body([module("m0")], minute=1), uuid4().hex
    with front.client() as admin:

        def sync(site_id: int, sent: dict, key: str, **options: bool) -> httpx.Response:
            headers = {"Idempotency-Key": key}
            return admin.post(f"/sites/{site_id}/modules/sync", json=sent, headers=headers, params=options)

        answers = [sync(site_id, first, key).json() for site_id in (one, other, one)]
        assert [answer["site_id"] for answer in answers] == [one, other, one]
        assert answers[2]["sync_id"] == answers[0]["sync_id"]
        assert sync(one, less, key).status_code == 422
        held = sync(one, less, key + "-2")
        confirmed = sync(one, less, key + "-2", confirm_removals=True)
        assert (held.json()["state"], confirmed.json()["removed_modules"]) == ("held", 19)
        replayed = sync(one, less, key + "-2", confirm_removals=True)
        assert replayed.headers["Idempotent-Replayed"] == "true"


def test_a_sync_is_one_request_of_its_key(postgres_url: str, tmp_path: Path) -> None:
    with serving(
        home=tmp_path, postgres_url=postgres_url, rate_limit="10/hour", sync_rate_limit="1/hour"
    ) as front:
        site_id, key = front.site()
        path = f"/sites/{site_id}/modules/sync"
        with front.client(key) as client:
            assert client.post(path, content=b"{}").status_code == 415  # no sync of the site's one an hour
            answer = client.post(path, json=body([module("a")]))
            assert answer.status_code == 200
            assert [value.split(";")[1] for value in answer.headers.get_list("RateLimit")] == ["r=8"]
            assert client.post(path, json=body([module("a")])).status_code == 429


def test_a_wrong_sync_is_undone_by_a_new_one(front: Front, site: tuple[int, httpx.Client]) -> None:
    site_id, client = site
    url = f"/sites/{site_id}/modules/sync"
    first = client.post(url, json=body([module("a"), module("b", "8.x-1.0")])).json()
    wrong = client.post(url, json=body([module("c")], minute=1)).json()
    undone = client.post(f"/sites/{site_id}/syncs/{wrong['sync_id']}/revert")
    assert undone.status_code == 200, undone.text
    assert (undone.json()["returned_modules"], undone.json()["removed_modules"]) == (2, 1)
    items = client.get(f"/sites/{site_id}/modules", params={"removed": False}).json()["items"]
    assert [(one["machine_name"], one["version"]) for one in items] == [("a", "1.0.0"), ("b", "8.x-1.0")]
    nothing = client.post(f"/sites/{site_id}/syncs/{first['sync_id']}/revert").json()
    assert nothing["removed_modules"] == 2
    before = tables(front.engine, site_id)
    front.runs.rebuild(site_id)
    assert tables(front.engine, site_id) == before


def test_many_modules_are_answered_with_a_receipt(site: tuple[int, httpx.Client]) -> None:
    site_id, client = site
    many = body([module(f"m{n}") for n in range(1001)])
    answer = client.post(f"/sites/{site_id}/modules/sync", json=many)
    assert answer.status_code == 202
    done = client.get(
        answer.headers["Location"].removeprefix("/api/v1"), headers={"Prefer": "wait=20"}
    ).json()
    assert (done["state"], done["result"]["new_modules"]) == ("done", 1001)
    waited = client.post(f"/sites/{site_id}/modules/sync", json=many, headers={"Prefer": "wait=20"})
    assert (waited.status_code, waited.json()["unchanged_modules"]) == (200, 1001)


def test_lists_come_in_pages(front: Front, site: tuple[int, httpx.Client]) -> None:
    site_id, client = site
    url = f"/sites/{site_id}/modules/sync"
    for minute in range(3):
        modules = [module(name, f"1.0.{minute}") for name in ("a", "b", "c")]
        client.post(url, json=body(modules, minute=minute)).raise_for_status()
    with front.client() as admin:
        for path in ("modules", "modules/a/history", "syncs", "attempts"):
            whole = admin.get(f"/sites/{site_id}/{path}").json()["items"]
            assert len(whole) == 3
            assert walk(admin, f"/sites/{site_id}/{path}") == whole
        assert walk(admin, "/sites") == admin.get("/sites", params={"limit": 500}).json()["items"]
        for path in (f"/sites/{site_id}/syncs", "/sites", "/security/releases/token/1.0.0/sites"):
            assert admin.get(path, params={"cursor": "bm8"}).status_code == 422


def walk(client: httpx.Client, path: str) -> list[dict]:
    """All items of a list, asked for two at a time."""
    items, cursor = [], {}
    while True:
        page = client.get(path, params={"limit": 2, **cursor}).raise_for_status().json()
        items += page["items"]
        if page["next"] is None:
            return items
        cursor = {"cursor": page["next"]}


def test_a_security_release_touches_the_sites_that_lack_it(
    front: Front, site: tuple[int, httpx.Client], shared_data: Path
) -> None:
    site_id, client = site
    url = f"/sites/{site_id}/modules/sync"
    modules = [module("aaa_update_test", "8.x-1.0"), module("nobody_knows")]
    assert client.post(url, json=body(modules)).json()["security_updates_found"] == 0
    unknown = client.get(f"/sites/{site_id}/security").json()
    assert unknown["counts"] == {"unknown": 2}
    xml = (shared_data / "modules" / "release-history" / "aaa_update_test.sec.8.x-1.2.xml").read_bytes()
    with front.engine.begin() as connection:
        keep_history(connection, parse_history(xml), at=datetime.now(UTC))
    with front.client() as admin:
        touched = admin.get("/security/releases/aaa_update_test/8.x-1.2/sites").json()["items"]
    assert [(one["site_id"], one["installed_version"], one["status"]) for one in touched] == [
        (site_id, "8.x-1.0", "not_secure")
    ]
    known = client.get(f"/sites/{site_id}/security").json()
    assert (known["security_updates_found"], known["counts"]) == (1, {"not_secure": 1, "unknown": 1})
    modules[0] = module("aaa_update_test", "8.x-1.2")
    assert client.post(url, json=body(modules, minute=1)).json()["security_updates_found"] == 0
    with front.client() as admin:
        assert admin.get("/security/releases/aaa_update_test/8.x-1.2/sites").json()["items"] == []


def release(version: str, kind: str = "Bug fixes") -> str:
    return (
        f"<release><name>x {version}</name><version>{version}</version><status>published</status><date>1790000000</date>"
        f"<terms><term><name>Release type</name><value>{kind}</value></term></terms></release>"
    )


def told(front: Front, project: str, branches: str, *releases: str) -> None:
    """What the feed says of a project, as it is kept."""
    xml = (
        f"<project><title>{project}</title><short_name>{project}</short_name><supported_branches>{branches}</supported_branches>"
        f"<project_status>published</project_status><releases>{''.join(releases)}</releases></project>"
    )
    with front.engine.begin() as connection:
        keep_history(connection, parse_history(xml.encode()), at=datetime.now(UTC))


@pytest.fixture
def core_is_known(front: Front) -> Iterator[None]:
    yield told(front, "drupal", "11.3.", release("11.3.6", "Security update"), release("11.3.5", "Insecure"))
    with front.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM ingestion.module_projects WHERE project = 'drupal'"))


CORE_MODULES = [module(name, "11.3.5", type="core") for name in ("node", "user")]


@pytest.mark.usefixtures("core_is_known")
@pytest.mark.parametrize(
    ("modules", "listed"), [([], ["drupal"]), (CORE_MODULES[:1], ["node"]), (CORE_MODULES, ["node", "user"])]
)
def test_core_counts_like_a_module_and_never_twice(
    front: Front, site: tuple[int, httpx.Client], modules: list[dict], listed: list[str]
) -> None:
    site_id, client = site
    sent = body([module("nobody_knows_this"), *modules]) | {"drupal_version": "11.3.5"}
    answer = client.post(f"/sites/{site_id}/modules/sync", json=sent).json()
    assert answer["security_updates_found"] == len(listed)
    stands = client.get(f"/sites/{site_id}/security").json()
    assert (stands["security_updates_found"], stands["core"]["status"]) == (len(listed), "not_secure")
    assert stands["counts"] == {"not_secure": len(listed), "unknown": 1}
    with front.client() as admin:
        rows = walk(admin, "/security/releases/drupal/11.3.6/sites")
    ours = [one["machine_name"] for one in rows if one["site_id"] == site_id]
    assert ours == listed
    later = body([module("nobody_knows_this")], minute=1) | {"drupal_version": "11.3.6"}
    assert client.post(f"/sites/{site_id}/modules/sync", json=later).json()["security_updates_found"] == 0
    assert client.get(f"/sites/{site_id}/security").json()["core"]["status"] == "up_to_date"


def test_core_is_judged_by_a_later_answer_of_the_feed(front: Front, site: tuple[int, httpx.Client]) -> None:
    site_id, client = site
    sent = body([module("a_custom_one", type="custom")]) | {"drupal_version": "10.9.0-rc1"}
    first = client.post(f"/sites/{site_id}/modules/sync", json=sent).json()
    assert (first["security_updates_found"], first["warnings"]) == (0, ["Unknown module: drupal"])
    with front.engine.connect() as connection:
        asked_for = connection.scalar(
            sa.text("SELECT count(*) FROM ingestion.module_projects WHERE project = 'drupal'")
        )
    assert asked_for == 1
    told(front, "drupal", "10.9.", release("10.9.0", "Security update"), release("10.9.0-rc1", "Insecure"))
    with front.client() as admin:
        rows = walk(admin, "/security/releases/drupal/10.9.0/sites")
    assert (site_id, "10.9.0-rc1") in [(one["site_id"], one["installed_version"]) for one in rows]
    assert client.get(f"/sites/{site_id}/security").json()["security_updates_found"] == 1
    again = client.post(
        f"/sites/{site_id}/modules/sync", json=sent | {"sync_timestamp": "2026-01-02T00:00:00Z"}
    ).json()
    assert (again["security_updates_found"], again["warnings"]) == (1, [])
    with front.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM ingestion.module_projects WHERE project = 'drupal'"))


@pytest.mark.usefixtures("core_is_known")
def test_what_is_not_judged_yet_is_named_and_beyond_twenty_counted(
    front: Front, site: tuple[int, httpx.Client]
) -> None:
    site_id, client = site
    told(front, "known_one", "1.", release("1.0.0"))
    url, own = f"/sites/{site_id}/modules/sync", module("our_own", type="custom")
    few = [module("unheard_of"), module("known_one"), own, module("odd-name")]
    warnings = client.post(url, json=body(few)).json()["warnings"]
    assert warnings == ["Unknown module: unheard_of", "Unknown module: odd-name"]
    many = [module(f"unheard_of_{number}") for number in range(21)]
    sent = body([*few, *many], minute=1) | {"drupal_version": "11.3.6"}
    assert client.post(url, json=sent).json()["warnings"] == [
        "Unknown modules: 23 of the reported are not judged yet."
    ]
    one = client.post(url, json=body([module("unheard_of_3")], minute=2, sync_type="partial")).json()
    assert one["warnings"] == ["Unknown module: unheard_of_3"]


def test_lists_go_on_behind_names_of_any_letters(site: tuple[int, httpx.Client]) -> None:
    site_id, client = site
    names = sorted(["\u00fc" * 255, "\U0001f30d" * 255, "plain", "\u6a21\u5757"])
    sent = body([module(name) for name in names])
    assert client.post(f"/sites/{site_id}/modules/sync", json=sent).status_code == 200
    assert sorted(one["machine_name"] for one in walk(client, f"/sites/{site_id}/modules")) == names


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/x", "http://localhost:8080/", "http://10.1.2.3/", "http://192.168.0.1/", "http://169.254.169.254/latest",
        "http://[::1]/", "http://[::ffff:10.0.0.1]/", "http://[fd00:ec2::254]/", "http://[fe80::1]/", "http://[::127.0.0.1]/",
        "http://[64:ff9b::a00:1]/", "http://[fec0::1]/", "http://0.0.0.0/", "http://2130706433/", "http://0x7f.1/", "http://0177.0.0.1/",
        "http://127.1/", "http://224.0.0.1/", "http://168.63.129.16/", "http://\uff11\uff12\uff17.0.0.1/", "http://LOCALHOST./",
    ],
)  # fmt: skip
def test_a_webhook_into_a_private_network_is_refused_when_the_site_is_made(front: Front, url: str) -> None:
    with front.client() as admin:
        refused = admin.post("/sites", json={"name": "hooked", "webhook_url": url})
    assert refused.status_code == 422, refused.text
    assert "private network" in refused.json()["detail"]
    assert refused.json()["errors"][0]["loc"] == ["body", "webhook_url"]


@pytest.mark.parametrize(
    "path",
    [
        "modules?as_of=0001-01-01T00:00:00%2B14:00", "modules?as_of=9999-12-31T23:59:59-14:00", "modules?as_of=9e18",
        "modules/%ff/history", "modules/%00/history", "modules/%ed%a0%80/history", "modules?cursor=gICA", "modules?cursor=AA",
        "modules/a/history?cursor=OTk5OTk5OTk5OTk5OTk5OTk5", "syncs?cursor=AAAA", "attempts?cursor=7YCA",
    ],
)  # fmt: skip
def test_what_postgresql_could_not_take_is_no_fault_of_the_server(front: Front, path: str) -> None:
    site_id, _ = front.site()
    with front.client() as admin:
        assert admin.get(f"/sites/{site_id}/{path}").status_code in {200, 404, 422}
        assert admin.get("/security/releases/shop/%00/sites").status_code in {404, 422}
        assert admin.get(
            "/security/releases/shop/%ff/sites?cursor=OTk5OTk5OTk5OTk5OTk5OTk5L_8"
        ).status_code in {200, 422}

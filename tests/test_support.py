"""The servers that other tests stand on do what they are said to do."""

from __future__ import annotations

import base64
import http.client
import socket
import threading

import pytest

from tests.conftest import HabitatFactory, NginxFactory
from tests.support.couch import CouchServer
from tests.support.net import free_port
from tests.support.proxy import Answer, CutOff, Drop, Hang, Proxy, Rewrite, Slow, on, times
from tests.support.reply import Reply, http_request
from tests.support.wait import PATIENCE, eventually

DOCS = b'{"docs": [{"_id": "a"}, {"_id": "b", "n": 1}]}'
JSON = {"Content-Type": "application/json"}


def bulk(proxy: Proxy, database: str, **headers: str) -> Reply:
    path = f"/{database}/_bulk_docs"
    return http_request(proxy.address, "POST", path, DOCS, {**JSON, **headers})


@pytest.fixture
def empty(couch: CouchServer, database: str) -> str:
    couch.create(database)
    return database


def test_the_couch_server_keeps_documents_over_a_stop_and_a_kill(
    couch: CouchServer, empty: str
) -> None:
    port = couch.port
    assert couch.request("POST", f"/{empty}/_bulk_docs", DOCS).status == 201
    assert couch.stop() == 0
    couch.start()
    assert couch.request("POST", f"/{empty}/_bulk_docs", {"docs": [{"_id": "c"}]}).status == 201
    couch.restart(kill=True)
    assert couch.port == port
    assert [doc["_id"] for doc in couch.all_docs(empty)] == ["a", "b", "c"]


def test_the_couch_server_answers_a_repeat_with_a_conflict(couch: CouchServer, empty: str) -> None:
    couch.request("POST", f"/{empty}/_bulk_docs", DOCS)
    rows = couch.request("POST", f"/{empty}/_bulk_docs", DOCS).json()
    assert [row["error"] for row in rows] == ["conflict", "conflict"]


def test_design_documents_are_left_out(couch: CouchServer, empty: str) -> None:
    couch.request("PUT", f"/{empty}/_design/x", {"views": {}})
    assert couch.all_docs(empty) == []
    assert [doc["_id"] for doc in couch.all_docs(empty, design=True)] == ["_design/x"]


def test_a_database_is_gone_after_its_deletion(couch: CouchServer, empty: str) -> None:
    assert empty in couch.databases()
    couch.delete(empty)
    couch.delete(empty)
    assert empty not in couch.databases()


def test_the_proxy_passes_on_and_records(couch: CouchServer, proxy: Proxy, empty: str) -> None:
    reply = bulk(proxy, empty)
    assert reply.status == 201
    assert [row["id"] for row in reply.json()] == ["a", "b"]
    assert len(couch.all_docs(empty)) == 2
    assert proxy.count("POST", "_bulk_docs") == proxy.count() == 1
    assert proxy.seen()[0].json()["docs"][0] == {"_id": "a"}


def test_the_proxy_keeps_connections_open(proxy: Proxy, empty: str) -> None:
    connection = http.client.HTTPConnection(*proxy.address, timeout=PATIENCE)
    for _ in range(3):
        connection.request("GET", f"/{empty}")
        response = connection.getresponse()
        assert response.status == 200
        assert b"db_name" in response.read()
    connection.request("HEAD", f"/{empty}")
    response = connection.getresponse()
    assert (response.status, response.read()) == (200, b"")
    connection.close()


def test_the_proxy_takes_chunked_bodies(couch: CouchServer, proxy: Proxy, empty: str) -> None:
    connection = http.client.HTTPConnection(*proxy.address, timeout=PATIENCE)
    parts = iter([DOCS[:10], DOCS[10:]])
    connection.request("POST", f"/{empty}/_bulk_docs", parts, JSON, encode_chunked=True)
    assert connection.getresponse().status == 201
    connection.close()
    assert len(couch.all_docs(empty)) == 2


def test_the_proxy_wants_credentials(couch: CouchServer, proxy: Proxy, empty: str) -> None:
    proxy.credentials = ("op", "s3cret")

    def with_password(text: str) -> Reply:
        return bulk(proxy, empty, Authorization="Basic " + base64.b64encode(text.encode()).decode())

    assert bulk(proxy, empty).status == 401
    assert with_password("op:wrong").status == 401
    assert couch.all_docs(empty) == []
    assert with_password("op:s3cret").status == 201


@pytest.mark.parametrize("status", [403, 413, 500, 503])
def test_the_proxy_answers_by_itself(
    couch: CouchServer, proxy: Proxy, empty: str, status: int
) -> None:
    proxy.rule = times(1, on("POST", "_bulk_docs", Answer(status, reason="why")))
    reply = bulk(proxy, empty)
    assert (reply.status, reply.json()["reason"]) == (status, "why")
    assert couch.all_docs(empty) == []
    assert bulk(proxy, empty).status == 201


def test_a_rule_sees_the_body(proxy: Proxy, empty: str) -> None:
    proxy.rule = lambda _method, _path, body: Answer(413) if len(body) > len(DOCS) else None
    assert bulk(proxy, empty).status == 201
    path = f"/{empty}/_bulk_docs"
    assert http_request(proxy.address, "POST", path, DOCS + b" ", JSON).status == 413


def test_an_answer_can_lack_its_content_type(proxy: Proxy) -> None:
    proxy.rule = on("*", "/", Answer(500, b"boom", content_type=None))
    reply = http_request(proxy.address, "GET", "/x")
    assert (reply.status, reply.body) == (500, b"boom")
    assert "content-type" not in reply.headers


def test_the_proxy_rewrites_status_and_body(couch: CouchServer, proxy: Proxy, empty: str) -> None:
    proxy.rule = on("POST", "_bulk_docs", Rewrite(202, lambda body: body.replace(b'"a"', b'"x"')))
    reply = bulk(proxy, empty)
    # The server answers in the order in which the documents were stored.
    assert (reply.status, {row["id"] for row in reply.json()}) == (202, {"b", "x"})
    assert len(couch.all_docs(empty)) == 2


@pytest.mark.parametrize("reset", [False, True])
def test_the_proxy_cuts_an_answer_off(
    couch: CouchServer, proxy: Proxy, empty: str, reset: bool
) -> None:
    proxy.rule = on("POST", "_bulk_docs", CutOff(reset=reset))
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        bulk(proxy, empty)
    assert len(couch.all_docs(empty)) == 2


@pytest.mark.parametrize("forward", [False, True])
@pytest.mark.parametrize("reset", [False, True])
def test_the_proxy_drops_a_connection(
    couch: CouchServer, proxy: Proxy, empty: str, forward: bool, reset: bool
) -> None:
    proxy.rule = on("POST", "_bulk_docs", Drop(forward, reset))
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        bulk(proxy, empty)
    assert len(couch.all_docs(empty)) == (2 if forward else 0)


def test_the_proxy_hangs_until_it_is_released(proxy: Proxy, empty: str) -> None:
    proxy.rule = on("POST", "_bulk_docs", Hang())
    with pytest.raises(TimeoutError):
        http_request(proxy.address, "POST", f"/{empty}/_bulk_docs", DOCS, JSON, timeout=0.2)
    errors: list[type[Exception]] = []

    def hang() -> None:
        try:
            bulk(proxy, empty)
        except (http.client.HTTPException, OSError) as error:
            errors.append(type(error))

    thread = threading.Thread(target=hang)
    thread.start()
    eventually(lambda: proxy.count("POST", "_bulk_docs") == 2)
    proxy.release()
    thread.join(PATIENCE)
    assert errors == [http.client.RemoteDisconnected]


def test_a_slow_answer_comes(proxy: Proxy, empty: str) -> None:
    proxy.rule = on("POST", "_bulk_docs", Slow(3600))
    with pytest.raises(TimeoutError):
        http_request(proxy.address, "POST", f"/{empty}/_bulk_docs", DOCS, JSON, timeout=0.1)
    proxy.release()
    proxy.rule = on("POST", "_bulk_docs", Slow(0.01))
    assert bulk(proxy, empty).status == 201


def test_the_proxy_refuses_connections_and_ends_open_ones(proxy: Proxy, empty: str) -> None:
    port = proxy.port
    proxy.rule = on("GET", "/hang", Hang())
    with socket.create_connection(proxy.address, timeout=PATIENCE) as idle:
        with socket.create_connection(proxy.address, timeout=PATIENCE) as hanging:
            hanging.sendall(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
            eventually(lambda: proxy.count("GET", "/hang"))
            proxy.refuse()
            assert hanging.recv(100) == b""
        assert idle.recv(100) == b""
    with pytest.raises(ConnectionRefusedError):
        bulk(proxy, empty)
    proxy.start()
    assert proxy.port == port
    assert bulk(proxy, empty).status == 201


def test_the_proxy_says_502_when_there_is_no_server(
    couch: CouchServer, proxy: Proxy, empty: str
) -> None:
    couch.stop()
    assert bulk(proxy, empty).status == 502
    couch.start()
    assert bulk(proxy, empty).status == 201


def test_eventually_describes_what_did_not_happen() -> None:
    with pytest.raises(AssertionError, match=r"not within 0 s: the moon is blue; last: 0"):
        eventually(lambda: 0, "the moon is blue", timeout=0)
    with pytest.raises(AssertionError, match="ConnectionRefusedError"):
        eventually(lambda: socket.create_connection(("127.0.0.1", free_port())), timeout=0)


def test_a_gateway_starts_answers_and_stops(habitat: HabitatFactory) -> None:
    gateway = habitat()
    assert gateway.scgi("GET", "/").status == 200
    assert gateway.scgi("GET", "/nothing").status == 404
    assert gateway.status()
    assert gateway.cli("--help").returncode == 0
    assert gateway.stop() == 0
    assert not gateway.socket_path.exists()


def test_a_gateway_is_killed_and_started_again(habitat: HabitatFactory) -> None:
    gateway = habitat()
    first = gateway.pid
    gateway.config["gateway"]["machine_code"] = "second"
    gateway.restart(kill=True)
    assert gateway.pid != first
    assert gateway.scgi("GET", "/").status == 200


def test_an_activated_gateway_leaves_its_socket(habitat: HabitatFactory) -> None:
    gateway = habitat(activated=True)
    assert gateway.scgi("GET", "/").status == 200
    assert gateway.stop() == 0
    with gateway.connect():  # the kernel queues it
        gateway.start()
    assert gateway.scgi("GET", "/").status == 200


def test_nginx_stands_before_a_gateway(habitat: HabitatFactory, nginx: NginxFactory) -> None:
    gateway = habitat()
    server = nginx(gateway, in_server="add_header X-Test yes always;")
    reply = server.request("GET", "/")
    assert (reply.status, reply.headers["x-test"]) == (200, "yes")
    server.in_server = ""
    server.reload()
    eventually(lambda: "x-test" not in server.request("GET", "/").headers)
    assert server.stop() == 0
    server.start()
    assert server.request("GET", "/").status == 200
    gateway.stop()
    assert server.request("GET", "/").status == 503

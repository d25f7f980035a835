"""Which path and method reaches which action, through nginx and without it."""

from __future__ import annotations

import pytest

from tests.conftest import HabitatFactory, NginxFactory
from tests.support.messages import GOOD, TELEM
from tests.support.reply import one_line
from tests.support.site import Site


@pytest.mark.parametrize(
    "path", ["/nothing", "/messagex", "/Message", "/message/more", "/messages/1", "/index.html"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "PUT"])
def test_an_unknown_path_is_404_and_names_the_actions(site: Site, path: str, method: str) -> None:
    reply = site.front.request(method, path, GOOD if method in ("POST", "PUT") else None)
    assert reply.status == 404
    if method != "HEAD":
        assert "/message" in one_line(reply)
        assert "/messages" in one_line(reply)


def test_only_the_whitelisted_actions_are_named(
    habitat: HabitatFactory, nginx: NginxFactory
) -> None:
    front = nginx(habitat({"gateway": {"actions": ["messages"]}}))
    reply = front.request("POST", "/message", GOOD)
    assert reply.status == 404
    assert one_line(reply).endswith("/messages")
    assert "/message\n" not in front.request("GET", "/").text
    assert front.request("POST", "/messages", GOOD).status == 200


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/message", {"POST"}),
        ("/messages", {"POST"}),
        ("/", {"GET", "HEAD"}),
        ("/status", {"GET", "HEAD"}),
        ("/metrics", {"GET", "HEAD"}),
        ("/healthz", {"GET", "HEAD"}),
        ("/readyz", {"GET", "HEAD"}),
    ],
)
@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"]
)
def test_another_method_is_405_with_allow(
    site: Site, path: str, allowed: set[str], method: str
) -> None:
    before = site.written()
    body = GOOD if method in ("POST", "PUT", "PATCH") else None
    reply = site.front.request(method, path, None if method in allowed else body)
    if method in allowed:
        assert reply.status in (200, 400)
        return
    assert reply.status == 405
    assert set(reply.headers["allow"].split(", ")) == allowed
    if method != "HEAD":
        assert method in one_line(reply)
    assert site.written() == before


def test_a_query_string_does_not_matter(site: Site) -> None:
    assert site.post(TELEM, "/message?a=1&b=%00").status == 200


CONTENT_TYPES = ["application/json", "text/plain", "application/x-www-form-urlencoded", "x"]


@pytest.mark.parametrize("content_type", CONTENT_TYPES)
def test_any_content_type_will_do(site: Site, content_type: str) -> None:
    assert site.post(TELEM, headers={"Content-Type": content_type}).status == 200


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"PATH_INFO": "/message"}, 200),
        ({"PATH_INFO": "/message", "DOCUMENT_URI": "/nothing"}, 200),
        ({"PATH_INFO": "/message", "SCRIPT_NAME": "/message"}, 200),
        ({"PATH_INFO": "/nothing", "DOCUMENT_URI": "/message"}, 404),
        ({"PATH_INFO": None, "DOCUMENT_URI": "/message"}, 200),
        ({"PATH_INFO": "", "DOCUMENT_URI": "/message"}, 200),
        ({"PATH_INFO": None, "DOCUMENT_URI": "/message", "SCRIPT_NAME": None}, 200),
        ({"PATH_INFO": None, "DOCUMENT_URI": "/hab/message", "SCRIPT_NAME": "/hab"}, 200),
        ({"PATH_INFO": None, "DOCUMENT_URI": "/hab/message", "SCRIPT_NAME": "/hab/"}, 200),
        ({"PATH_INFO": None, "DOCUMENT_URI": "/hab/message"}, 404),
        ({"PATH_INFO": None, "DOCUMENT_URI": "/x/hab/message", "SCRIPT_NAME": "/hab"}, 404),
        ({"PATH_INFO": None, "DOCUMENT_URI": "/hab/hab/message", "SCRIPT_NAME": "/hab"}, 404),
    ],
    ids=str,
)
def test_path_info_or_else_the_document_uri_names_the_action(
    site: Site, params: dict[str, str | None], status: int
) -> None:
    assert site.gateway.scgi("POST", "/ignored", GOOD, params=params).status == status


def test_nginx_with_its_stock_scgi_params(habitat: HabitatFactory, nginx: NginxFactory) -> None:
    gateway = habitat()
    socket = f"scgi_pass unix:{gateway.socket_path};"
    block = (
        f"location / {{ include /etc/nginx/scgi_params; {socket} }}\n"
        "location /hab/ { include /etc/nginx/scgi_params;"
        f" scgi_param SCRIPT_NAME /hab; {socket} }}\n"
    )
    front = nginx(gateway, block=block)
    for path in ("/message", "/hab/message", "//message", "/x/../message", "/%6dessage?a=b"):
        reply = front.request("POST", path, GOOD)
        assert (reply.status, reply.body) == (200, b"OK"), path
    assert front.request("POST", "/hab/nothing", GOOD).status == 404
    assert front.request("GET", "/hab/").status == 200
    assert gateway.status()["messages"]["accepted"] == 5
    assert gateway.status()["journal"]["last_seq"] == 1


def test_no_gateway_behind_nginx_is_no_200(habitat: HabitatFactory, nginx: NginxFactory) -> None:
    gateway = habitat()
    front = nginx(gateway)
    gateway.stop()
    reply = front.request("POST", "/message", GOOD)
    assert (reply.status, reply.headers["retry-after"]) == (503, "5")
    assert "try again later" in one_line(reply)

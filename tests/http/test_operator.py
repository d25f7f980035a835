"""The front page and the operator's pages, through a real nginx."""

from __future__ import annotations

import http.client
import re
import ssl
import subprocess
from pathlib import Path

import pytest

from tests.conftest import HabitatFactory, NginxFactory
from tests.support.console import make_users
from tests.support.messages import GOOD, TELEM
from tests.support.net import free_port
from tests.support.site import Site


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_front_page_says_what_this_is(site: Site, method: str) -> None:
    reply = site.front.request(method, "/")
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/plain")
    if method == "HEAD":
        assert reply.body == b""
        return
    assert "habitat_like" in reply.text
    assert "/message\n" in reply.text
    assert "/messages\n" in reply.text
    assert "docs/" in reply.text


def test_no_path_at_all_is_the_front_page(site: Site) -> None:
    for params in ({"PATH_INFO": None}, {"PATH_INFO": ""}):
        assert "habitat_like" in site.gateway.scgi("GET", "/x", params=params).text


def test_status_is_json_with_what_an_operator_needs(site: Site) -> None:
    reply = site.front.request("GET", "/status")
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    status = reply.json()
    for key in ("version", "instance", "uptime", "requests", "backlog", "archive", "threads"):
        assert key in status, key
    assert status["state"] == "ready"
    assert status["archive"]["state"] == "ok"
    assert site.post(TELEM).status == 200
    before = site.gateway.status()["requests"]["message"]["200"]
    assert site.post(TELEM).status == 200
    assert site.front.request("GET", "/status").json()["requests"]["message"]["200"] == before + 1


def test_metrics_are_prometheus_text(site: Site) -> None:
    site.post(TELEM)
    site.post({})
    reply = site.front.request("GET", "/metrics")
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/plain; version=")
    sample = re.compile(r'[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? -?[0-9.e+-]+|# .+')
    for text in reply.text.splitlines():
        assert sample.fullmatch(text), text
    assert re.search(r'habitat_requests_total\{action="message",status="400"\} [1-9]', reply.text)
    assert re.search(r"\nhabitat_journal_commit_seconds_count [1-9]", reply.text)


def test_the_health_pages(site: Site) -> None:
    for path in ("/healthz", "/readyz"):
        assert site.front.request("GET", path).status == 200


@pytest.mark.parametrize("path", ["/", "/status", "/metrics", "/healthz", "/readyz"])
def test_head_is_get_without_the_body(site: Site, path: str) -> None:
    got = site.front.request("GET", path)
    head = site.front.request("HEAD", path)
    assert (got.status, head.status) == (200, 200)
    assert head.body == b""
    assert head.headers["content-type"] == got.headers["content-type"]


def test_the_operators_pages_are_closed_to_the_outside(
    habitat: HabitatFactory, nginx: NginxFactory
) -> None:
    front = nginx(habitat(), in_server="set_real_ip_from 127.0.0.1; real_ip_header X-Real-IP;")
    outside = {"X-Real-IP": "203.0.113.7"}
    for page in ("status", "metrics", "healthz", "readyz"):
        for path in (f"/{page}", f"//{page}", f"/{page}/", f"/%{ord(page[0]):x}{page[1:]}"):
            for method in ("GET", "HEAD", "POST"):
                reply = front.request(method, path, headers=outside)
                assert reply.status == 403, (method, path)
        assert front.request("GET", f"/{page}").status == 200
    assert front.request("GET", "/", headers=outside).status == 200
    assert front.request("POST", "/message", GOOD, outside).status == 200


def test_the_console_is_served_over_https_or_to_the_machine_itself(
    habitat: HabitatFactory, nginx: NginxFactory, tmp_path: Path
) -> None:
    certificate, key, port = tmp_path / "certificate", tmp_path / "key", free_port()
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    command += ["-subj", "/CN=test", "-out", str(certificate), "-keyout", str(key)]
    subprocess.run(command, check=True, capture_output=True)
    front = nginx(
        habitat({"console": {"password_file": make_users(tmp_path / "users")}}),
        in_server=f"""
            set_real_ip_from 127.0.0.1; real_ip_header X-Real-IP;
            listen 127.0.0.1:{port} ssl;
            ssl_certificate {certificate}; ssl_certificate_key {key};
        """,
    )
    inside = ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1")
    outside = ("203.0.113.7", "10.0.0.1", "2001:db8::1", "::ffff:10.0.0.1", "1.127.0.1", "::1:1")
    paths = ("/console", "/console/", "//console/login", "/%63onsole/login", "/x/../console/login")
    for path in (*paths, "/console/login?next=/", "/console/static/console.css"):
        for address in outside:
            for method in ("GET", "HEAD", "POST"):
                reply = front.request(method, path, headers={"X-Real-IP": address})
                assert reply.status == 403, (method, path, address)
                assert reply.headers["content-type"] == "text/plain", (method, path, address)
        for address in inside:
            reply = front.request("GET", path, headers={"X-Real-IP": address})
            assert reply.status in (200, 401), (path, address)
    context = ssl.create_default_context(cafile=str(certificate))
    context.check_hostname = False
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=60)
    connection.request("GET", "/console/login", headers={"X-Real-IP": "203.0.113.7"})
    answer = connection.getresponse()
    assert answer.status == 200
    assert b"name=" in answer.read()
    connection.close()
    # All else is served over HTTP as ever, also what only looks like it.
    assert front.request("GET", "/consoles", headers={"X-Real-IP": "203.0.113.7"}).status == 404

"""What nginx is given for networks, tried in a real nginx."""

from __future__ import annotations

from tests.conftest import HabitatFactory, NginxFactory

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
READING = "PASSKEY=0123456789ABCDEF&tempf=41.5&dateutc=2026-11-20+10:15:30"


def test_port_80_beside_https_takes_what_has_no_tls_and_redirects_the_rest(
    habitat: HabitatFactory, nginx: NginxFactory
) -> None:
    gateway = habitat({"networks": {"weather": {}, "osmand": {}, "cloudevents": {}}})
    printed = gateway.cli("nginx", "--redirect")
    assert printed.returncode == 0, printed.stderr
    front = nginx(gateway, block=printed.stdout)
    assert front.request("POST", "/data/report/", READING, FORM).status == 200
    assert front.request("POST", "/?id=7&lat=52&lon=5", "").status == 200
    # Whoever knows CloudEvents knows TLS.
    for method, path in (("POST", "/events"), ("POST", "/message"), ("GET", "/console/")):
        reply = front.request(method, path, "{}" if method == "POST" else None)
        assert reply.status == 301, path
        assert reply.headers["location"].startswith("https://")


def test_networks_that_are_off_need_nothing_unless_all_are_asked_for(
    habitat: HabitatFactory, nginx: NginxFactory
) -> None:
    gateway = habitat({"networks": {"airrohr": {}}})
    assert "access_log" not in gateway.cli("nginx").stdout
    everything = gateway.cli("nginx", "--all").stdout
    front = nginx(gateway, block=everything)
    # The block does no harm while they are off.
    assert front.request("POST", "/data/report/", READING, FORM).status == 404
    assert front.request("GET", "/").status == 200
    assert front.request("POST", "/message", "{}").status == 400
    assert "PASSKEY" not in front.access_log


def test_a_mistake_in_the_configuration_is_one_line(habitat: HabitatFactory) -> None:
    gateway = habitat({"networks": {"wether": {}}}, start=False)
    done = gateway.cli("nginx")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no network 'wether'; did you mean 'weather'?" in done.stderr
    assert len(done.stderr.splitlines()) == 1

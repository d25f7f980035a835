"""`habitat doctor` finds each fault, and the command that it tells mends it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.support.net import program
from tests.support.sandbox import Sandbox
from tests.support.wait import eventually

CONFIG = "/etc/habitat/config.yml"
SITE = "/etc/nginx/sites-available/habitat"
STATE = "/var/lib/habitat"


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    """A machine that is set up, which all tests share: each leaves it mended."""
    made = Sandbox()
    try:
        made.start()
        made.habitat("setup", "--yes")
        yield made
    finally:
        made.close()


def look(server: Sandbox) -> tuple[int, str, str]:
    """The exit code, the first thing that is wrong, and the command for it."""
    done = server.habitat("doctor", check=False)
    assert done.stderr == ""
    found = re.search(r"^Mend this first: (.*)\n\n  (.*)$", done.stdout, re.M)
    return (done.returncode, found[1], found[2]) if found else (done.returncode, done.stdout, "")


def found(server: Sandbox, words: str) -> tuple[int, str, str]:
    """The same, as soon as ``words`` are in it."""
    said: list[tuple[int, str, str]] = []

    def is_said() -> bool:
        said.append(look(server))
        assert words in said[-1][1], said[-1]
        return True

    eventually(is_said, pause=0.2)
    return said[-1]


#: What is done to the machine, what must be said of it, and what the command must be.
MENDED = {
    "the socket belongs to the gateway's group": (
        "chgrp habitat /run/habitat/habitat.sock",
        "nginx's workers may not connect to /run/habitat/habitat.sock",
        "systemctl restart habitat.socket habitat.service",
    ),
    "Debian's default site is on": (
        "ln -s ../sites-available/default /etc/nginx/sites-enabled/default; systemctl reload nginx",
        "names no host",
        "rm /etc/nginx/sites-enabled/default && systemctl reload nginx",
    ),
    "nginx is stopped": (
        "systemctl stop nginx",
        "nothing listens on port 80",
        "systemctl restart nginx",
    ),
    "the site is off": (
        "rm /etc/nginx/sites-enabled/habitat; systemctl reload nginx",
        "no site of it passes requests to /run/habitat/habitat.sock",
        "habitat setup --yes",
    ),
    "the gateway is stopped": (
        "systemctl stop habitat.socket habitat",
        "there is no /run/habitat/habitat.sock",
        "systemctl restart habitat.socket habitat.service",
    ),
    "the gateway was killed": (
        "kill -9 $(systemctl show --value --property=MainPID habitat)",
        "habitat.service is failed",
        "systemctl restart habitat.socket habitat.service",
    ),
    "maintenance was forgotten": (
        "habitat ctl maintenance on --message 'back at noon'",
        "Maintenance has been on",
        "habitat ctl maintenance off",
    ),
    "the journal was deleted": (
        f"rm {STATE}/journal.sqlite*",
        "while the gateway runs: put it back, or restart the gateway",
        "systemctl restart habitat.socket habitat.service",
    ),
    "the journal belongs to root": (
        f"systemctl stop habitat.socket habitat; chown root:root {STATE}/journal.sqlite;"
        f" chmod 600 {STATE}/journal.sqlite; systemctl start habitat || true",
        "journal",
        "",
    ),
}


@pytest.mark.parametrize("fault", MENDED)
def test_a_fault_is_found_and_mended_by_the_command(server: Sandbox, fault: str) -> None:
    harm, words, command = MENDED[fault]
    server.sh(harm)
    code, _, mend = found(server, words)
    assert code == 1
    if command:
        assert mend == command
        server.sh(mend)
    else:
        server.sh(f"chown habitat:habitat {STATE}/journal.sqlite; systemctl restart habitat")
    found(server, "Nothing is wrong.")


#: The same, mended by a person.
BY_HAND = {
    "the configuration is wrong": (
        f"echo 'nonsense: 1' >>{CONFIG}",
        "unknown key 'nonsense'",
        f"editor {CONFIG} && systemctl restart habitat.socket habitat",
        f"sed -i /nonsense/d {CONFIG}",
    ),
    "nginx's configuration is wrong": (
        "echo nonsense >/etc/nginx/conf.d/x.conf",
        "its configuration is wrong",
        "nginx -t",
        "rm /etc/nginx/conf.d/x.conf",
    ),
    "nginx passes to another socket": (
        f"sed -i 's|habitat.sock;|other.sock;|' {SITE}; systemctl reload nginx",
        "it passes requests to /run/habitat/other.sock",
        "habitat setup --yes",
        f"sed -i 's|other.sock;|habitat.sock;|' {SITE}; systemctl reload nginx",
    ),
    "the console's users are broken": (
        f"cp -p {STATE}/console-users /root/users; echo rubbish >{STATE}/console-users",
        "no hash after the name",
        "runuser -u habitat -- habitat check --config /etc/habitat/config.yml",
        f"cp /root/users {STATE}/console-users",
    ),
    "the console's users can't be read": (
        f"chown root {STATE}/console-users",
        "console-users: Permission denied",
        "runuser -u habitat -- habitat check --config /etc/habitat/config.yml",
        f"chown habitat {STATE}/console-users",
    ),
    "the archive is down": (
        f"cp -p {CONFIG} /root/config.yml;"
        f" sed -i 's|^  uri: .*|  uri: couchdb://127.0.0.1:1/habitat|' {CONFIG};"
        " systemctl restart habitat; sleep 1",
        "CouchDB at http://127.0.0.1:1 can't be reached",
        "runuser -u habitat -- habitat check",
        f"cp /root/config.yml {CONFIG}; systemctl restart habitat",
    ),
}


@pytest.mark.parametrize("fault", BY_HAND)
def test_a_fault_is_found(server: Sandbox, fault: str) -> None:
    harm, words, command, repair = BY_HAND[fault]
    server.sh(harm)
    code, _, mend = found(server, words)
    assert code in (1, 2)
    assert mend.startswith(command)
    server.sh(repair)
    found(server, "Nothing is wrong.")


def test_a_port_that_another_program_has(server: Sandbox) -> None:
    server.run("systemctl", "stop", "nginx")
    other = server.spawn("python3", "-m", "http.server", "80")
    eventually(lambda: server.curl("http://127.0.0.1/").startswith("200"))
    code, said, mend = look(server)
    assert code == 1
    assert re.search(r"port 80 is taken by python\S* \(process \d+\), and not by nginx", said)
    server.sh(mend)
    other.wait()
    found(server, "Nothing is wrong.")


def test_a_full_disk(server: Sandbox) -> None:
    server.sh(
        f"systemctl stop habitat.socket habitat; mount -t tmpfs -o size=64m,mode=750 x {STATE};"
        f" chown habitat:habitat {STATE}; systemctl start habitat;"
        f" dd if=/dev/zero of={STATE}/filler bs=1M 2>/dev/null || true"
    )
    body = '{"callsign": "M0ZDR"}'
    eventually(
        lambda: (server.curl("-d", body, "http://127.0.0.1/message"), "full" in look(server)[1])[1]
    )
    code, said, mend = look(server)
    assert code == 1
    assert "full" in said
    assert mend == f"du -xh {STATE} | sort -h | tail"
    assert "filler" not in server.sh(mend)
    server.sh(f"systemctl stop habitat.socket habitat; umount {STATE}; systemctl start habitat")
    found(server, "Nothing is wrong.")


def test_a_log_whose_directory_is_gone(server: Sandbox) -> None:
    server.sh(
        f"cp -p {CONFIG} /root/config.yml; mkdir -p /var/log/habitat;"
        " chown habitat /var/log/habitat;"
        f" sed -i '/^log:/,$ s|^  file: .*|  file: /var/log/habitat/x.log|' {CONFIG};"
        " systemctl restart habitat; mv /var/log/habitat /var/log/away"
    )
    _, _, mend = found(server, "directory /var/log/habitat is missing")
    server.sh(mend)
    # That a line was lost meanwhile may be told for a while.
    server.sh("systemctl restart habitat")
    found(server, "Nothing is wrong.")
    server.sh(f"cp -p /root/config.yml {CONFIG}; systemctl restart habitat")


def test_the_console_over_plain_http_is_a_warning(server: Sandbox) -> None:
    server.sh(
        "ip address add 192.0.2.1/32 dev lo;"
        f" sed -i '/return 403 \"the console/d' {SITE}; systemctl reload nginx"
    )
    eventually(lambda: "served over plain HTTP" in server.habitat("doctor").stdout)
    said = server.habitat("doctor").stdout
    assert "the location block is not what 'habitat nginx' prints" in said
    server.habitat("setup", "--yes")
    # The workers of before may answer a moment longer.
    eventually(lambda: "plain HTTP" not in server.habitat("doctor").stdout)


def test_units_that_systemd_has_not_read(server: Sandbox) -> None:
    server.sh("echo '# x' >>/etc/systemd/system/habitat.service")
    said = server.habitat("doctor").stdout
    assert "systemd has not read habitat.service since it changed" in said
    server.habitat("setup", "--yes")
    assert "systemd has not read" not in server.habitat("doctor").stdout


def make_certificate(server: Sandbox, name: str, begin: str, end: str) -> None:
    """A certificate that its own key signed, for a name and a time (YYMMDDHHMMSSZ)."""
    program("openssl")
    server.write(
        "/root/ca.cnf",
        "[ca]\ndefault_ca=d\n[d]\ndir=/root/ca\ndatabase=/root/ca/index\nserial=/root/ca/serial\n"
        "new_certs_dir=/root/ca\ndefault_md=sha256\npolicy=p\nx509_extensions=e\n"
        f"[p]\ncommonName=supplied\n[e]\nsubjectAltName=DNS:{name}\n"
        "[req]\ndistinguished_name=n\n[n]\n",
    )
    server.sh(
        "rm -rf /root/ca; mkdir /root/ca; : >/root/ca/index; echo 01 >/root/ca/serial; cd /root/ca;"
        " openssl req -new -newkey rsa:2048 -nodes -keyout /etc/ssl/h.key -out r.csr"
        f" -subj /CN={name} -config /root/ca.cnf 2>/dev/null;"
        " openssl ca -batch -selfsign -keyfile /etc/ssl/h.key -in r.csr -out /etc/ssl/h.pem"
        f" -config /root/ca.cnf -startdate {begin} -enddate {end} 2>/dev/null"
    )


TLS = ("--tls-cert", "/etc/ssl/h.pem", "--tls-key", "/etc/ssl/h.key")
LONG = ("200101000000Z", "491231000000Z")


def test_certificates(server: Sandbox) -> None:
    server.sh("echo '127.0.0.1 habitat.example.org' >>/etc/hosts")
    make_certificate(server, "habitat.example.org", *LONG)
    server.habitat("setup", "--yes", "--server-name", "habitat.example.org", *TLS)
    code, said, _ = look(server)
    assert code == 0, said
    assert "/etc/ssl/h.pem is valid until 2049-12-31" in said
    assert "name: habitat.example.org leads here" in said
    # A new one that nginx has not read.
    make_certificate(server, "habitat.example.org", "200102000000Z", LONG[1])
    assert "nginx serves an older one than is in /etc/ssl/h.pem" in look(server)[1]
    make_certificate(server, "habitat.example.org", "200101000000Z", "200201000000Z")
    server.sh("systemctl reload nginx")
    code, said, mend = found(server, "has expired")
    assert (code, mend) == (1, "certbot renew && systemctl reload nginx")
    # Renewed, but nginx was not told.
    make_certificate(server, "habitat.example.org", *LONG)
    code, said, mend = look(server)
    assert "the file has a newer one" in said
    assert mend == "systemctl reload nginx"
    server.sh(mend)
    found(server, "Nothing is wrong.")
    make_certificate(server, "other.example.org", *LONG)
    server.sh("systemctl reload nginx")
    found(server, "is not for habitat.example.org")


def test_a_name_that_leads_nowhere(server: Sandbox) -> None:
    server.habitat("setup", "--yes", "--server-name", "no.such.name.invalid")
    code, said, mend = look(server)
    assert code == 1
    assert "no.such.name.invalid is found neither in the DNS nor in /etc/hosts" in said
    assert mend == "getent ahosts no.such.name.invalid"


def test_another_user_is_told_what_was_not_looked_at(server: Sandbox) -> None:
    command = ("runuser", "-u", "habitat", "--", "/opt/habitat/bin/habitat", "doctor")
    assert "not looked at; run this as root" in server.run(*command, check=False).stdout

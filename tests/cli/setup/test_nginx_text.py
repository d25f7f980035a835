"""What `nginx -T` prints is understood, whatever it is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from habitat_like.cli.doctor.nginx_text import files, parse, servers

DUMP = r"""# configuration file /etc/nginx/nginx.conf:
user www-data; # who
http {
    log_format x '{"a": "$b;"}';
    upstream both { server unix:/run/a.sock; server unix:/run/b.sock max_fails=0; }
    include /etc/nginx/sites-enabled/*;
}
# configuration file /etc/nginx/sites-enabled/habitat:
server {
    listen 80; listen [::]:80 default_server; listen 443 ssl;
    server_name habitat.example.org "~^(www|api)\." ~.;
    ssl_certificate /etc/ssl/x.pem;
    include snippets/habitat.conf;
}
server { server_name other.example.org; location / { scgi_pass both; } }
server { listen 127.0.0.1:8080; return 404; }
# configuration file /etc/nginx/snippets/habitat.conf:
location / { location ~ ^/+(status|x{2})(/|$) { scgi_pass unix:/run/habitat/habitat.sock; } }
"""


def test_servers_are_found_with_what_they_include() -> None:
    first, second, third = servers(DUMP)
    assert first.file == "/etc/nginx/sites-enabled/habitat"
    assert first.names == ("habitat.example.org",)
    assert first.listens == ((80, False), (443, True))
    assert first.passes == {"/run/habitat/habitat.sock"}
    assert first.certificates == ("/etc/ssl/x.pem",)
    assert second.passes == {"/run/a.sock", "/run/b.sock"}
    assert second.listens == ((80, False),)
    assert third.listens == ((8080, False),)
    assert third.passes == frozenset()


def test_every_file_is_known() -> None:
    assert list(files(DUMP)) == [
        "/etc/nginx/nginx.conf",
        "/etc/nginx/sites-enabled/habitat",
        "/etc/nginx/snippets/habitat.conf",
    ]


def test_an_include_of_itself_ends() -> None:
    text = "# configuration file /etc/nginx/a.conf:\nserver { include /etc/nginx/a.conf; }\n"
    assert servers(text)


PIECES = st.sampled_from([*"{};#\"'\\ \n", "server", "listen 80", "include x", "server_name"])


@given(st.lists(PIECES, max_size=60).map("".join))
def test_any_text_is_read_to_its_end(text: str) -> None:
    parse(text)
    servers(f"# configuration file /etc/nginx/x:\n{text}")

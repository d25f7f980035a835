"""`habitat setup` makes a server of a bare machine, as often as it is run."""

from __future__ import annotations

import json
import re
import subprocess
import time

import pytest

from tests.support.couch import SERVER
from tests.support.net import program
from tests.support.sandbox import Sandbox
from tests.support.wait import eventually

CONFIG = "/etc/habitat/config.yml"
SITE = "/etc/nginx/sites-available/habitat"
#: What setup may write.
PLACES = "/etc /var/lib /usr/local /run/habitat"


def message(callsign: str) -> str:
    now = int(time.time())
    data = {"callsign": callsign, "type": "LISTENER_INFO", "data": {"name": "x"}}
    return json.dumps({**data, "time_created": now, "time_uploaded": now})


def uploads_work(sandbox: Sandbox, callsign: str = "M0ZDR") -> None:
    """An upload gets 200 by any name and by none, and is archived."""
    url = "http://127.0.0.1/message"
    assert sandbox.curl("-d", message(callsign), url) == "200 OK"
    named = ("-H", "Host: any.other.name", "-d", message(callsign))
    assert sandbox.curl(*named, url) == "200 OK"
    bare = ("--http1.0", "-H", "Host:", "-d", message(callsign))
    assert sandbox.curl(*bare, url) == "200 OK"
    eventually(lambda: callsign in sandbox.habitat("query", "--callsign", callsign).stdout)


def password(said: str) -> str:
    found = re.findall(r"user operator, password (\S+)", said)
    assert found, said
    return str(found[-1])


def state(sandbox: Sandbox) -> str:
    """Every file that setup may write, with owner, mode and time."""
    kinds = "-type f -o -type l -o -type d"
    return sandbox.sh(
        f"find {PLACES} \\( {kinds} \\) -printf '%p %u:%g %m %T@ %l\\n' 2>/dev/null"
        " | grep -v -e sqlite -e ' /run/habitat ' -e '^/var/lib/habitat ' | sort"
    )


def test_a_bare_machine_becomes_a_server(sandbox: Sandbox) -> None:
    said = sandbox.habitat("setup", "--yes", "--server-name", "habitat.example.org").stdout
    uploads_work(sandbox)
    listed = sandbox.sh(
        f"stat -c '%a %U:%G' {CONFIG} /var/lib/habitat /var/lib/habitat/console-users"
        " /run/habitat/habitat.sock"
    )
    assert listed.split("\n")[:4] == [
        "644 root:root",
        "750 habitat:habitat",
        "600 habitat:habitat",
        "660 habitat:www-data",
    ]
    page = "http://127.0.0.1/console/overview.json"
    assert sandbox.curl("-u", f"operator:{password(said)}", page).startswith("200")
    assert sandbox.curl("-u", "operator:wrong", page).startswith("401")
    assert "HABITAT-SETUP" in sandbox.habitat("query").stdout
    # Printed once, and kept in no file.
    kept = sandbox.run("grep", "-rl", password(said), *PLACES.split(), check=False).stdout
    assert kept == ""
    for line in ("http://habitat.example.org/message", "certbot certonly --nginx -d habitat.ex"):
        assert line in said
    marks = sandbox.run("runuser", "-u", "habitat", "--", "habitat", "check", check=False).stdout
    assert "error" not in marks


def test_a_shell_by_su_is_enough(sandbox: Sandbox) -> None:
    sandbox.sh("ln -s /usr/local/sbin/systemctl /usr/local/sbin/journalctl /usr/local/bin/")
    habitat = ("env", "PATH=/usr/local/bin:/usr/bin:/bin", "/opt/habitat/bin/habitat")
    sandbox.run(*habitat, "setup", "--yes")
    sandbox.run(*habitat, "doctor")


def test_run_again_it_changes_nothing(sandbox: Sandbox) -> None:
    sandbox.habitat("setup", "--yes", "--server-name", "a.example.org")
    before = state(sandbox)
    said = sandbox.habitat("setup", "--yes").stdout
    assert "does" not in said
    assert "Nothing had to be changed." in said
    assert "http://a.example.org/message" in said
    assert state(sandbox) == before


def test_run_again_it_changes_what_differs_alone(sandbox: Sandbox) -> None:
    sandbox.habitat("setup", "--yes", "--no-console")
    sandbox.sh(f"sed -i 's/^  workers: 4/  workers: 2 # mine/' {CONFIG}")
    sandbox.sh("rm /etc/systemd/system/habitat.socket")
    said = sandbox.habitat("setup", "--yes", "--server-name", "b.example.org").stdout
    does = re.findall(r"^does +(\w+):", said, re.M)
    # The configuration was changed by somebody: the gateway is restarted for it.
    assert does == ["console", "units", "service", "nginx"]
    assert "workers: 2 # mine" in sandbox.read(CONFIG)
    assert "server_name b.example.org ~.;" in sandbox.read(SITE)
    uploads_work(sandbox)


def test_a_dry_run_tells_everything_and_does_nothing(sandbox: Sandbox) -> None:
    before = state(sandbox)
    said = sandbox.habitat("setup", "--yes", "--dry-run").stdout
    assert state(sandbox) == before
    for text in (
        "would run useradd --system",
        "would write /etc/habitat/config.yml (0644 root:root):",
        "  | ExecStart=/opt/habitat/bin/habitat serve",
        f"would write {SITE}",
        "would remove /etc/nginx/sites-enabled/default",
        "would run nginx -t",
        "would run systemctl reload-or-restart nginx",
    ):
        assert text in said, said


#: Runs the real program, and kills who called it, once before it and once after it.
DEADLY = """#!/bin/sh
real={real}
case " $* " in *" show "*|*" is-active "*) exec $real "$@";; esac
mark=/run/marks/$(echo "$real $*" | md5sum | cut -c1-16)
mkdir -p /run/marks
[ -e $mark-before ] || {{ touch $mark-before; kill -9 $PPID; exit 1; }}
$real "$@"
code=$?
[ -e $mark-after ] || {{ touch $mark-after; kill -9 $PPID; }}
exit $code
"""
#: What changes files, in the process itself.
CALLS = "rename,renameat,renameat2,symlinkat,unlinkat,mkdirat"


def test_killed_at_each_step_and_run_again_it_ends_well(sandbox: Sandbox) -> None:
    program("strace")
    sandbox.sh("mv /usr/local/sbin/systemctl /usr/local/sbin/systemctl.real")
    for name, real in (
        ("systemctl", "/usr/local/sbin/systemctl.real"),
        ("useradd", "/usr/sbin/useradd"),
        ("nginx", "/usr/sbin/nginx"),
    ):
        sandbox.write(f"/usr/local/sbin/{name}", DEADLY.format(real=real))
        sandbox.run("chmod", "755", f"/usr/local/sbin/{name}")
    sandbox.sh(
        "sed -i 's/called = Path(sys.argv\\[0\\]).name/called = \"systemctl\"/'"
        " /usr/local/sbin/systemctl.real"
    )
    tracer = ["strace", "-o", "/dev/null", "-e", f"trace={CALLS}"]
    # Each run gets one change further: the second is where it dies.
    tracer += ["-e", f"inject={CALLS}:signal=KILL:when=2"]
    kills, said = 0, ""
    while kills < 100:
        done = sandbox.run(*tracer, "/opt/habitat/bin/habitat", "setup", "--yes", check=False)
        said += done.stdout
        if done.returncode == 0:
            break
        assert done.returncode in (-9, 137), done.stdout + done.stderr
        kills += 1
    assert kills >= 20, f"killed {kills} times"
    assert done.returncode == 0
    uploads_work(sandbox)
    page = "http://127.0.0.1/console/overview.json"
    assert sandbox.curl("-u", f"operator:{password(said)}", page).startswith("200")
    again = sandbox.habitat("setup", "--yes").stdout
    assert "Nothing had to be changed." in again


def test_what_nginx_refuses_is_put_back(sandbox: Sandbox) -> None:
    sandbox.write("/etc/nginx/sites-enabled/broken", "server { nonsense; }\n")
    before = sandbox.sh("ls -l /etc/nginx/sites-enabled /etc/nginx/sites-available | grep -v total")
    done = sandbox.habitat("setup", "--yes", check=False)
    assert done.returncode == 1
    assert "nginx -t: " in done.stderr
    assert "unknown directive" in done.stderr
    assert done.stderr.count("\n") == 1
    after = sandbox.sh("ls -l /etc/nginx/sites-enabled /etc/nginx/sites-available | grep -v total")
    assert re.sub(r"\d\d:\d\d", "", after) == re.sub(r"\d\d:\d\d", "", before)
    sandbox.run("rm", "/etc/nginx/sites-enabled/broken")
    sandbox.habitat("setup", "--yes")
    uploads_work(sandbox)


def test_a_site_left_broken_by_a_killed_setup_is_switched_off(sandbox: Sandbox) -> None:
    sandbox.write(SITE, "server { nonsense; }\n")
    sandbox.run("ln", "-s", "../sites-available/habitat", "/etc/nginx/sites-enabled/habitat")
    sandbox.write("/etc/nginx/conf.d/other.conf", "nonsense;\n")
    assert sandbox.habitat("setup", "--yes", check=False).returncode == 1
    sandbox.run("rm", "/etc/nginx/conf.d/other.conf")
    sandbox.habitat("setup", "--yes")
    uploads_work(sandbox)


def test_a_default_site_of_the_operators_own_stays(sandbox: Sandbox) -> None:
    sandbox.sh("echo '# mine' >>/etc/nginx/sites-available/default")
    sandbox.habitat("setup", "--yes")
    assert sandbox.path("/etc/nginx/sites-enabled/default").is_symlink()


@pytest.fixture
def certificate(sandbox: Sandbox) -> tuple[str, str]:
    """A certificate for habitat.example.org that its own key signed, and that key."""
    program("openssl")
    paths = ("/etc/ssl/habitat.pem", "/etc/ssl/habitat.key")
    sandbox.sh(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30"
        f" -subj /CN=habitat.example.org -out {paths[0]} -keyout {paths[1]} 2>/dev/null"
    )
    return paths


def test_with_a_certificate_the_console_is_served_over_https(
    sandbox: Sandbox, certificate: tuple[str, str]
) -> None:
    words = ("setup", "--yes", "--server-name", "habitat.example.org")
    said = sandbox.habitat(*words, "--tls-cert", certificate[0], "--tls-key", certificate[1]).stdout
    assert "https://habitat.example.org/console/" in said
    assert "certbot" not in said
    page = "https://127.0.0.1/console/overview.json"
    assert sandbox.curl("-k", "-u", f"operator:{password(said)}", page).startswith("200")
    uploads_work(sandbox)
    # The next run keeps it, and reads a renewed one.
    assert "Nothing had to be changed." in sandbox.habitat("setup", "--yes").stdout
    sandbox.run("touch", certificate[0])
    assert "reload-or-restart nginx" in sandbox.habitat("setup", "--yes").stdout


def test_a_key_of_another_certificate_is_refused(
    sandbox: Sandbox, certificate: tuple[str, str]
) -> None:
    sandbox.sh("openssl genrsa -out /etc/ssl/other.key 2048 2>/dev/null")
    words = ("setup", "--yes", "--tls-cert", certificate[0], "--tls-key", "/etc/ssl/other.key")
    before = state(sandbox)
    done = sandbox.habitat(*words, check=False)
    assert done.returncode == 1
    assert "are no certificate and its key" in done.stderr
    assert state(sandbox) == before


def test_a_port_that_another_program_has_is_told(sandbox: Sandbox) -> None:
    other = sandbox.spawn("python3", "-m", "http.server", "80")
    eventually(lambda: sandbox.curl("http://127.0.0.1/").startswith("200"))
    done = sandbox.habitat("setup", "--yes", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("habitat: nginx: ")
    assert "80" in done.stderr
    other.kill()
    other.wait()
    sandbox.run("sh", "-c", "kill $(pgrep -f http.server)", check=False)
    sandbox.habitat("setup", "--yes")
    uploads_work(sandbox)


def test_it_asks_on_a_terminal(sandbox: Sandbox) -> None:
    answers = {"Archive (": "sqlite", "Server's name": "asked.example.org"}
    code, said = sandbox.on_terminal("setup", answers=answers)
    assert code == 0, said
    assert "Archive (sqlite, or couchdb://host:5984/database) [sqlite]:" in said
    assert "http://asked.example.org/message" in said
    uploads_work(sandbox)


def test_without_a_terminal_it_wants_the_answers(sandbox: Sandbox) -> None:
    done = sandbox.habitat("setup", check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "There is no terminal to ask on; give --yes, and options" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--archive", "mysql://x/y"), "is not couchdb://user@host:5984/database"),
        (("--archive", "couchdb://h:p@x:5984/db"), "leave the password out"),
        (("--archive", "sqlite:/srv/a.sqlite"), "may write only below /var/lib/habitat"),
        (("--server-name", "a b;"), "is not a host's name"),
        (("--tls-cert", "/x.pem"), "--tls-cert and --tls-key go together"),
        (("--console-user", "a:b"), "is not a user name"),
    ],
)
def test_an_answer_that_can_not_be_is_refused(
    sandbox: Sandbox, words: tuple[str, ...], said: str
) -> None:
    before = state(sandbox)
    done = sandbox.habitat("setup", "--yes", *words, check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    assert said in done.stderr
    assert state(sandbox) == before


def test_a_configuration_that_is_wrong_is_left_alone(sandbox: Sandbox) -> None:
    sandbox.write(CONFIG, "nonsense: 1\n")
    done = sandbox.habitat("setup", "--yes", check=False)
    assert done.returncode == 1
    assert "unknown key 'nonsense'" in done.stderr
    assert sandbox.read(CONFIG) == "nonsense: 1\n"


def test_from_ruin_to_restored(sandbox: Sandbox) -> None:
    sandbox.habitat("setup", "--yes", "--server-name", "habitat.example.org")
    uploads_work(sandbox, "BEFORE")
    sandbox.run("systemctl", "start", "habitat-backup.service")
    listed = sandbox.sh("find /var/backups/habitat -printf '%u:%g %m\\n' | sort -u").split("\n")
    assert listed[:2] == ["root:habitat 640", "root:habitat 750"]
    # Another machine, with what its own setup makes; and only the backups.
    sandbox.sh("systemctl stop habitat.socket habitat.service; rm -r /var/lib/habitat /etc/habitat")
    sandbox.sh(f"rm {SITE} /etc/nginx/sites-enabled/habitat; userdel habitat")
    done = sandbox.habitat("restore", "/var/backups/habitat", check=False)
    assert done.returncode == 1
    assert "has no user habitat" in done.stderr
    sandbox.habitat("setup", "--yes")
    sandbox.sh("systemctl stop habitat.socket habitat.service")
    sandbox.habitat("restore", "--force", "/var/backups/habitat")
    sandbox.habitat("setup", "--yes")
    assert "BEFORE" in sandbox.habitat("query").stdout
    uploads_work(sandbox, "AFTER")
    owners = sandbox.sh("stat -c '%U:%G' /var/lib/habitat/* | sort -u").split()
    assert owners == ["habitat:habitat"]


COUCH = "http://127.0.0.1:5984"
ADMIN = ("-u", "admin:open sesame")


@pytest.fixture
def couchdb(sandbox: Sandbox) -> str:
    """The CouchDB-protocol server on the machine, with an admin; the file of its password."""
    program("node")
    if not (SERVER.parent / "node_modules").is_dir():
        pytest.skip("there is no CouchDB-protocol server; `make test` gets it from npm")
    command = ("node", str(SERVER), "/srv/couchdb", "5984")
    server = sandbox.spawn(*command, stdout=subprocess.PIPE)
    assert server.stdout is not None
    with server.stdout as output:
        assert output.readline().startswith(b"listening")
    made = sandbox.curl("-X", "PUT", f"{COUCH}/_config/admins/admin", "-d", '"open sesame"')
    assert made.startswith("200")
    sandbox.write("/root/admin.password", "open sesame\n")
    return "/root/admin.password"


def test_with_couchdb_it_makes_database_account_and_rights(sandbox: Sandbox, couchdb: str) -> None:
    words = ("setup", "--yes", "--archive", "couchdb://127.0.0.1:5984/habitat")
    sandbox.habitat(*words, "--admin-password-file", couchdb)
    uploads_work(sandbox)
    kept = sandbox.sh("stat -c '%a %U:%G' /etc/habitat/couchdb.password").strip()
    assert kept == "640 root:habitat"
    assert "open sesame" not in sandbox.sh("cat /etc/habitat/*")
    own = ("-u", f"habitat:{sandbox.read('/etc/habitat/couchdb.password').strip()}")
    assert sandbox.curl(*own, f"{COUCH}/habitat").startswith("200")
    assert sandbox.curl(f"{COUCH}/habitat").startswith("401")
    design = ("-X", "PUT", "-d", "{}", f"{COUCH}/habitat/_design/x")
    assert sandbox.curl(*own, *design).startswith("401")
    # The admin is not needed again.
    sandbox.run("rm", couchdb)
    assert "Nothing had to be changed." in sandbox.habitat("setup", "--yes").stdout
    # A lost password is made anew, which needs the admin.
    sandbox.run("rm", "/etc/habitat/couchdb.password")
    done = sandbox.habitat(*words, check=False)
    assert done.returncode == 1
    assert "an admin of CouchDB is needed once" in done.stderr
    questions = {"Server's name": "", "CouchDB's admin": "", "its password": "open sesame"}
    code, said = sandbox.on_terminal(*words[:1], *words[2:], answers=questions)
    assert code == 0, said
    assert "open sesame" not in said
    uploads_work(sandbox, "AFTER")


def test_a_couchdb_that_does_not_answer_is_told(sandbox: Sandbox) -> None:
    sandbox.write("/root/admin.password", "x\n")
    words = ("setup", "--yes", "--archive", "couchdb://127.0.0.1:5984/habitat")
    done = sandbox.habitat(*words, "--admin-password-file", "/root/admin.password", check=False)
    assert done.returncode == 1
    assert "CouchDB at http://127.0.0.1:5984 can't be reached" in done.stderr


def test_another_user_is_told_to_be_root(sandbox: Sandbox) -> None:
    done = sandbox.run(
        "runuser", "-u", "nobody", "--", "/opt/habitat/bin/habitat", "setup", "--yes", check=False
    )
    assert done.returncode == 1
    assert "run it as root" in done.stderr

"""Promise 3: a bad request changes nothing."""

from __future__ import annotations

import json
import re
from collections import Counter

from tests.conftest import HabitatFactory
from tests.support import scgi
from tests.support.gateway import own_actions
from tests.support.load import counted, post, sent, upload
from tests.support.reply import Reply, unavailable

#: Where no archive is.
DOWN = {"uri": "couchdb://op@127.0.0.1:1/down", "timeout": 1}
GOOD = json.loads(upload(0))
BAD = [
    b"",
    b"{}",
    b"[]",
    b"null",
    b"{",
    json.dumps({**GOOD, "callsign": "a b"}).encode(),
    json.dumps({**GOOD, "type": "TELEM"}).encode(),
    json.dumps({**GOOD, "type": "NONE"}).encode(),
    json.dumps({**GOOD, "time_created": -1}).encode(),
    json.dumps({**GOOD, "time_uploaded": "now"}).encode(),
    json.dumps({**GOOD, "data": {"string": "?"}}).encode(),
    upload(0).replace(b"{", b'{"callsign": "OTHER", ', 1),
    upload(0)[:-1],
    upload(0) + upload(1),
]


def test_3_a_bad_request_changes_nothing(habitat: HabitatFactory) -> None:
    gateway = habitat()
    for body in BAD:
        reply = gateway.scgi("POST", "/message", body)
        assert reply.status == 400, (body, reply)
        assert re.fullmatch(r"[^\n:]+: [^\n]+\n", reply.text), "field, reason, one line"
    assert gateway.scgi("GET", "/message").status == 405
    assert gateway.scgi("POST", "/nothing", upload(0)).status == 404
    assert scgi.decode(gateway.send_raw(b"POST /message HTTP/1.1", end=True)).status == 400
    status = gateway.status()
    assert status["journal"]["last_seq"] == 0
    assert status["messages"] == {"accepted": 0, "written": 0}
    assert post(gateway, 1).status == 200
    assert counted(gateway.documents()) == Counter(sent([upload(1)]))


OWN_ACTIONS = """
from habitat_like.http.actions import Refused, Response, action
from habitat_like.message import InvalidMessage

def take(application, ip, args):
    for line in args.body.splitlines():
        application.message(ip, line)

@action(lane="fast")
def refuses(application, ip, args):
    take(application, ip, args)
    raise InvalidMessage("more: is needed")

def refuses_slowly(application, ip, args):
    refuses(application, ip, args)

@action(lane="fast")
def fails(application, ip, args):
    take(application, ip, args)
    raise RuntimeError("fails")

def fails_slowly(application, ip, args):
    fails(application, ip, args)

@action(lane="fast")
def answers_409(application, ip, args):
    take(application, ip, args)
    return Response(409, b"no")

def answers_409_slowly(application, ip, args):
    return answers_409(application, ip, args)
"""

NAMES = {
    "refuses": 400,
    "refuses_slowly": 400,
    "fails": 500,
    "fails_slowly": 500,
    "answers_409": 409,
    "answers_409_slowly": 409,
}


def test_3_an_action_that_refuses_has_changed_nothing(
    habitat: HabitatFactory,
) -> None:
    gateway = habitat(own_actions(*NAMES), own=OWN_ACTIONS)
    for name, status in NAMES.items():
        reply = gateway.scgi("POST", f"/{name}", b"\n".join(upload(n) for n in range(3)))
        assert reply.status == status, (name, reply)
    assert gateway.status()["journal"]["last_seq"] == 0
    assert post(gateway, 0).status == 200
    assert len(gateway.documents()) == 1


def test_3_a_batch_that_does_not_fit_into_the_backlog_is_refused_whole(
    habitat: HabitatFactory,
) -> None:
    gateway = habitat({"journal": {"max_backlog": 10}, "archive": DOWN})

    def post_all(numbers: range) -> Reply:
        return gateway.scgi("POST", "/messages", b"\n".join(upload(number) for number in numbers))

    assert post_all(range(8)).status == 200
    unavailable(post_all(range(8, 11)))
    assert gateway.status()["backlog"] == gateway.status()["journal"]["last_seq"] == 8
    assert post_all(range(8, 10)).status == 200
    unavailable(post(gateway, 10))
    unavailable(gateway.scgi("GET", "/readyz"))
    assert gateway.status()["backlog"] == 10

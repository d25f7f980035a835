"""Sessions: who the visitor is, by a signed cookie, a password or the web server's word."""

from __future__ import annotations

import logging
import os
import re
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from flask import (
    Blueprint,
    Response,
    current_app,
    flash,
    g,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from flask.globals import request_ctx
from flask.sessions import SecureCookieSessionInterface

from habitat_like.config.keys import ConsoleConfig
from habitat_like.console import rights
from habitat_like.console.pages import PageError
from habitat_like.console.users import OPERATOR, VIEWER, Users, UsersError
from habitat_like.passwords import Limiter

if TYPE_CHECKING:
    from flask import Flask
    from werkzeug.wrappers import Response as Answer

log = logging.getLogger(__name__)
blueprint = Blueprint("sessions", __name__)

#: Seconds between two lines in the log about too many wrong passwords.
LOG_EVERY = 60.0
#: What can be seen without being signed in.
OPEN = frozenset({"sessions.login", "static"})


class LoginGuard:
    """Knows the users, and how often a password may be tried. Thread-safe."""

    def __init__(self, config: ConsoleConfig) -> None:
        self.config = config
        self.users = Users(config.password_file) if config.password_file else None
        self._limiter = Limiter()
        self._own_secret = os.urandom(32)
        # When the log last had a line about too many tries. A single operation.
        self._told = -LOG_EVERY

    @property
    def secret(self) -> bytes:
        """The key that signs cookies. Raises UsersError."""
        return self.users.secret if self.users else self._own_secret

    def admit(self, name: str, password: str, ip: str | None) -> bool:
        """Whether the password is right, and may be tried. Raises UsersError.

        A refusal takes the same work whatever the reason, so that timing reveals neither which
        names exist nor whether a guess was checked.
        """
        if self.users is None:
            return False
        # Unknown names share one account: otherwise each would have its own tries.
        account = name if self.users.is_known(name) else ""
        now = time.monotonic()
        if not self._limiter.take(ip, account, now):
            self.users.is_right(None, password)
            if now - self._told > LOG_EVERY:
                self._told = now
                log.warning("too many wrong passwords for the console", extra={"ip": ip})
            return False
        if self.users.is_right(name, password):
            self._limiter.right(ip, account)
            return True
        log.warning("wrong password for the console", extra={"ip": ip, "user": name[:64]})
        return False

    def visitor(self) -> str | None:
        """The user who makes the present request, None if nobody is signed in.

        Raises UsersError.
        """
        if self.config.trust_proxy_auth and (name := request.environ.get("REMOTE_USER")):
            return str(name)
        name = session.get("user")
        if name and session.get("expires", 0) > time.time():
            if self.users is None or not self.users.is_known(name):
                return None
            # As good as the password, and survives a restart, which forgets the addresses.
            self._limiter.right(request.remote_addr, name)
            return str(name)
        # For scripts, and for looking alone: a browser may send such a password by itself.
        given = request.authorization
        if given and given.type == "basic" and request.method in ("GET", "HEAD"):
            name, password = given.username or "", given.password or ""
            if self.admit(name, password, request.remote_addr):
                return name
        return None

    def role(self, name: str) -> str:
        """The role of a user who is there. Raises UsersError.

        The web server's users are operators, except for those whom the password file has.
        """
        return (self.users and self.users.role(name)) or OPERATOR


class CookieSessions(SecureCookieSessionInterface):
    """Flask's signed cookies, with a key that can change and the path that we are mounted at."""

    def __init__(self, login_guard: LoginGuard) -> None:
        self._login_guard = login_guard

    def get_signing_serializer(self, app: Flask) -> Any:
        """The serializer with the present key, None where there is none: then nobody is known."""
        try:
            app.secret_key = self._login_guard.secret
        except UsersError:
            return None
        return super().get_signing_serializer(app)

    def get_cookie_path(self, app: Flask) -> str:
        """Only the console is sent the cookie."""
        return request.script_root or "/"

    def get_cookie_secure(self, app: Flask) -> bool:
        """Under HTTPS the cookie is never sent in clear."""
        return request.is_secure


def login_guard() -> LoginGuard:
    """The application's one."""
    found: LoginGuard = current_app.extensions["login_guard"]
    return found


def refuse_odd_host() -> Answer | None:
    """First of all: with an invalid Host, no page could link to another."""
    if request_ctx.url_adapter is not None:
        return None
    return Response("the request's Host is not a host name\n", 400, mimetype="text/plain")


def look_for_users() -> None:
    """Before all else: without the users, no session can be checked. Raises UsersError."""
    _ = login_guard().secret


def drop_odd_referrer() -> None:
    """Before a form's token is checked: an invalid Referer counts as none."""
    try:
        _ = urlsplit(request.referrer or "").port
    except ValueError:
        del request.environ["HTTP_REFERER"]


def guard() -> Answer | None:
    """Before each request: let known users in who have the right, send all others to sign in.

    Raises PageError where the right is missing.
    """
    g.user = login_guard().visitor()
    if g.user is not None:
        g.role = login_guard().role(g.user)
        if (why := rights.refusal()) is not None:
            raise PageError(403, why)
        return None
    if request.endpoint in OPEN:
        return None
    # A browser names HTML; scripts, which take anything, are told what they lack.
    asks = request.method in ("GET", "HEAD") and "text/html" in request.accept_mimetypes.values()
    if asks and not request.path.endswith(".json"):
        here = request.full_path.rstrip("?")
        return redirect(url_for("sessions.login", next=here), 303)
    headers = {"WWW-Authenticate": 'Basic realm="habitat"'}
    return Response("sign in first\n", 401, headers, mimetype="text/plain")


@blueprint.route("/login", methods=["GET", "POST"])
@rights.needs(VIEWER)
def login() -> Any:
    """The page to sign in on."""
    if g.user is not None:
        return redirect(_safe(request.values.get("next")), 303)
    status = 200
    name = request.form.get("name", "")
    if request.method == "POST":
        if login_guard().admit(name, request.form.get("password", ""), request.remote_addr):
            lifetime = login_guard().config.session_lifetime
            session.clear()  # also a CSRF token that somebody else may have brought in
            session.permanent = True
            session["user"] = name
            session["expires"] = time.time() + lifetime
            log.info("signed in to the console", extra={"user": name, "ip": request.remote_addr})
            return redirect(_safe(request.form.get("next")), 303)
        status = 403
        flash(
            "Wrong name or password, or too many attempts. Wait a minute before you try again.",
            "error",
        )
    return render_template("login.html", next=request.values.get("next", ""), name=name), status


@blueprint.post("/logout")
@rights.needs(VIEWER)
def logout() -> Any:
    """Sign the user out."""
    session.clear()
    flash("You have signed out.", "done")
    return redirect(url_for("sessions.login"), 303)


def _safe(target: str | None) -> str:
    """Where to go after signing in: a page of ours, whatever the address says."""
    path = unquote((target or "").partition("?")[0])
    # Browsers leave out line breaks and tabs, and take a backslash for a slash.
    if (
        not target
        or not re.match(r"/(?!/)", target)
        or not target.isprintable()
        or "\\" in target
        or "/.." in path
    ):
        return url_for("overview.overview")
    return request.script_root + target

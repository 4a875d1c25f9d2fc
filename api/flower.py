"""Flower, the page on workers and tasks, on our own Celery app: with a login before all of it, and to look at only.

By itself it has none, leaves `/metrics` open where it has one, and lets whoever gets in end workers and send tasks.
"""

import base64
import binascii
import hmac
import logging
import re
import signal
from typing import Any

import structlog
from celery import Celery
from flower.app import Flower
from flower.options import options
from flower.urls import settings as page_settings
from flower.views import BaseHandler
from flower.views.monitor import Metrics
from tornado.httputil import HTTPServerRequest
from tornado.web import authenticated

from api.origin import is_from_here
from batchmill.settings.flower import FlowerSettings, LoginProvider
from batchmill.settings.values import mask_url

log = structlog.get_logger()

HANDLERS = {
    LoginProvider.GOOGLE: "flower.views.auth.GoogleAuth2LoginHandler",
    LoginProvider.GITHUB: "flower.views.auth.GithubLoginHandler",
    LoginProvider.GITLAB: "flower.views.auth.GitLabLoginHandler",
}
OPEN = "/healthcheck"
COLUMNS = "name,kwargs,state,result,received,started,runtime,worker"
FORGET_WORKERS_S = 3_600
"""After this long a worker that is gone is shown no more: each start has a name of its own."""

_QUERY = re.compile(r"\?[^\s)'\"]+")


class Watchtower(Flower):
    """Flower, as far as a request may see it."""

    def __init__(self, settings: FlowerSettings, app: Celery) -> None:
        self._settings = settings
        self._logins = [login.encode() for login in settings.logins]
        super().__init__(
            options=_options(settings), capp=app, **page_settings, **_oauth(settings), log_function=_note
        )
        # A page shows where the broker is: without the password.
        self.broker_uri = mask_url(str(app.conf.broker_url))

    def find_handler(self, request: HTTPServerRequest, **rest: Any) -> Any:
        """Who answers a request; `_Refused` where the login is missing, or where there is none and a web page asks."""
        if request.path != OPEN:
            if self._logins and not self._is_let_in(request.headers.get("Authorization", "")):
                return self.get_handler_delegate(request, _Refused, {"status": 401})
            if not self._has_login and not is_from_here(request.headers, self._settings.host):
                return self.get_handler_delegate(request, _Refused, {"status": 403})
            if request.path == "/metrics":
                return self.get_handler_delegate(request, _Metrics)
        return super().find_handler(request, **rest)

    @property
    def _has_login(self) -> bool:
        return bool(self._logins) or self._settings.oauth_provider is not None

    def _is_let_in(self, authorization: str) -> bool:
        scheme, _, credentials = authorization.partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            told = base64.b64decode(credentials.strip(), validate=True)
        except (binascii.Error, ValueError):
            return False
        # All are compared, so that the time it takes tells nothing.
        return sum(hmac.compare_digest(login, told) for login in self._logins) > 0


class _Refused(BaseHandler):
    """Answers those who may not see it."""

    def initialize(self, status: int) -> None:
        """With that status; 401 asks for the login."""
        self._status = status

    def prepare(self) -> None:
        """Whatever is asked for."""
        self.set_status(self._status)
        if self._status == 401:
            self.set_header("WWW-Authenticate", 'Basic realm="batchmill"')
        self.finish("access denied\n")


class _Metrics(Metrics):
    """Figures, behind the same login as the pages."""

    @authenticated
    async def get(self) -> None:
        """The page of figures."""
        await super().get()


def serve(settings: FlowerSettings, app: Celery, on_up: Any) -> None:
    """Watch and answer until SIGINT or SIGTERM.

    Args:
        on_up: Told the port once it answers.

    Raises:
        OSError: It cannot listen there.
    """
    _say_it_our_way()
    tower = Watchtower(settings, app)
    port = tower.start_http_server()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: tower.io_loop.add_callback_from_signal(tower.stop))
    on_up(port)
    tower.start()


def _options(settings: FlowerSettings) -> Any:
    """Flower's options, of which there is one set in a process; none is read from files or variables of its own."""
    options.address, options.port = settings.host, settings.port
    options.max_tasks = settings.max_tasks
    options.purge_offline_workers = FORGET_WORKERS_S
    options.persistent = False
    options.read_only = True
    options.tasks_columns = COLUMNS
    options.basic_auth = settings.logins
    options.auth = settings.oauth_emails or ""
    options.auth_provider = HANDLERS[settings.oauth_provider] if settings.oauth_provider else None
    return options


def _oauth(settings: FlowerSettings) -> dict[str, Any]:
    if settings.oauth_provider is None or settings.oauth_secret is None:
        return {}
    told = {
        "key": settings.oauth_key,
        "secret": settings.oauth_secret.get_secret_value(),
        "redirect_uri": settings.oauth_redirect_uri,
    }
    return {"oauth": told}


def _note(handler: Any) -> None:
    """A request was answered; what follows the ? of a login is a secret for a moment."""
    log.debug(
        "flower_answered",
        method=handler.request.method,
        path=handler.request.path,
        status=handler.get_status(),
    )


class _OurLog(logging.Handler):
    """What Flower and its libraries log, as events of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        """Pass it on."""
        said = mask_url(_QUERY.sub("?***", record.getMessage()))
        log.warning("flower_says", logger=record.name, said=said)


def _say_it_our_way() -> None:
    logging.basicConfig(handlers=[_OurLog(level=logging.WARNING)], force=True)

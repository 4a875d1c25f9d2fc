"""The Celery app: queues, and the settings that were paid for (design §3)."""

from typing import Any

from celery import Celery
from kombu.entity import Queue

from batchmill.errors import SettingsError
from batchmill.requests.model import Lane
from batchmill.settings import Settings

MAINTENANCE = "maintenance"
QUEUES = (*(lane.value for lane in Lane), MAINTENANCE)

REDIS_OPTIONS: dict[str, Any] = {
    "queue_order_strategy": "priority",
    "socket_timeout": 30,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
}


def broker_of(settings: Settings) -> str:
    """The shared broker in force.

    Raises:
        SettingsError: There is none.
    """
    if settings.broker.url is None:
        raise SettingsError(
            "BROKER_URL (or REDIS_URL) is not set, and workers that serve others need a broker they share",
            "for example redis://localhost:6379; `batchmill run` needs none, nor does a worker on an embedded home",
        )
    return settings.broker.url


def make_app(broker_url: str, queues: tuple[str, ...] = QUEUES, *, as_current: bool = True) -> Celery:
    """A Celery app on that broker. Messages are doorbells: lost, doubled or late, nothing breaks.

    Early acknowledgement and no prefetch: on Celery 5.7.0 a worker that holds an unacknowledged message exits
    when Redis restarts; with these two it survives. Whoever works imports the tasks: were they named here, Celery
    would look for them in the user's folder first.

    Args:
        as_current: Let it be the app of this process; not so in a worker, which has one.
    """
    is_redis = broker_url.startswith(("redis", "unix"))
    app = Celery("batchmill", broker=broker_url, set_as_current=as_current)
    app.conf.update(
        task_queues=[Queue(name, routing_key=name) for name in queues],
        task_default_queue=queues[0],
        task_create_missing_queues=True,
        task_acks_late=False,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        result_backend=None,
        worker_disable_prefetch=is_redis,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_send_task_events=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options=REDIS_OPTIONS if is_redis else {},
        timezone="UTC",
    )
    return app

"""One Celery task a request, calling by the official SDK.

The broker comes from CELERY_BROKER_URL, the provider from OPENAI_BASE_URL, where answers go from ANSWERS_FOLDER.
"""

import os
from pathlib import Path
from typing import IO, Any

from celery import Celery
from celery.signals import worker_init, worker_process_init
from openai import OpenAI

from benchmarks.peers.programs.batch import KEY, line_of

QUEUE, WARM_UP = "questions", "warm-up"
LOW, HIGH = 9, 0
"""Redis serves the smallest number first."""

app = Celery("peer")
# As durable as it can be: a task is gone once its answer is written, and comes back when its worker dies.
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=int(os.environ.get("CELERY_PREFETCH", "32")),
    worker_send_task_events=False,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"queue_order_strategy": "priority", "priority_steps": [HIGH, LOW]},
)

_client: OpenAI
_answers: IO[str]


def _begin(**_: Any) -> None:
    global _client, _answers
    _client = OpenAI(api_key=KEY, max_retries=0)
    _answers = (Path(os.environ["ANSWERS_FOLDER"]) / f"answers-{os.getpid()}.jsonl").open(
        "a", encoding="utf-8"
    )


worker_process_init.connect(_begin)
worker_init.connect(_begin)  # a pool of threads forks nobody


@app.task  # type: ignore[untyped-decorator]
def ask(name: str, body: dict[str, Any]) -> None:
    """Ask one question and write the answer down before the task is acknowledged."""
    completion = _client.chat.completions.create(**body)
    _answers.write(line_of(name, completion.model_dump_json()))
    _answers.flush()

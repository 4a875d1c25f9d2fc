"""One Celery task a request, calling by the official SDK: `celery -A benchmarks.rivals.celery_app worker`.

The broker comes from CELERY_BROKER_URL, the provider from OPENAI_BASE_URL, where answers go from ANSWERS_FOLDER.
"""

import os
from pathlib import Path
from typing import IO, Any

from celery import Celery
from celery.signals import worker_process_init
from openai import OpenAI

QUEUE, WARM_UP = "questions", "warm-up"

app = Celery("rival")
# What is quickest for it: no results, early ack, many tasks fetched at once, no events.
app.conf.update(
    task_ignore_result=True,
    task_acks_late=False,
    worker_prefetch_multiplier=64,
    worker_send_task_events=False,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)

_client: OpenAI
_answers: IO[str]


@worker_process_init.connect  # type: ignore[untyped-decorator]
def _begin(**_: Any) -> None:
    global _client, _answers
    _client = OpenAI(api_key="none", max_retries=0)
    _answers = (Path(os.environ["ANSWERS_FOLDER"]) / f"answers-{os.getpid()}.jsonl").open(
        "a", encoding="utf-8"
    )


@app.task  # type: ignore[untyped-decorator]
def ask(body: dict[str, Any]) -> None:
    """Ask one question and write the answer down."""
    completion = _client.chat.completions.create(**body)
    _answers.write(completion.model_dump_json() + "\n")

"""OpenAI's client for Python on batchmill: a file of requests in, a file of answers out."""

import os
import sys
import time

from openai import BadRequestError, OpenAI

client = OpenAI(
    base_url=os.environ.get("BATCHMILL_BASE_URL", "http://127.0.0.1:8400") + "/v1",
    api_key=os.environ.get("BATCHMILL_API_KEY", "any"),
)

with open(sys.argv[1], "rb") as requests:
    file = client.files.create(file=requests, purpose="batch")

try:
    batch = client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"team": "blue"},
        extra_body={"priority": "high", "budget_usd": "2.50", "job_name": "nightly"},  # ours, if you like
    )
except BadRequestError as error:
    sys.exit(f"{error.code}: {error.body['message']} (parameter {error.param}, request {error.request_id})")

while batch.status in ("validating", "in_progress", "finalizing", "cancelling"):
    time.sleep(0.5)
    batch = client.batches.retrieve(batch.id)
    print(
        f"{batch.status}: {batch.request_counts.completed} of {batch.request_counts.total}", file=sys.stderr
    )

for fault in (batch.errors.data or []) if batch.errors else []:
    print(f"line {fault.line}: {fault.code}: {fault.message}", file=sys.stderr)
if batch.output_file_id:  # None where no line was answered
    with client.files.with_streaming_response.content(batch.output_file_id) as answers:
        answers.stream_to_file("answers.jsonl")
if batch.error_file_id:
    client.files.content(batch.error_file_id).write_to_file("errors.jsonl")
print(f"{batch.status}, ${batch.model_extra['cost_usd']}")

#!/usr/bin/env bash
# curl on batchmill: a file of requests in, a file of answers out.
set -euo pipefail
url=${BATCHMILL_BASE_URL:-http://127.0.0.1:8400}/v1

ask() { curl --silent --show-error --fail-with-body -H "Authorization: Bearer ${BATCHMILL_API_KEY:-any}" "$@"; }
field() { grep -o "\"$1\":\"[^\"]*\"" | head -1 | cut -d '"' -f 4; }

file=$(ask "$url/files" -F purpose=batch -F "file=@$1" | field id)
batch=$(ask "$url/batches" -H 'Content-Type: application/json' -H "Idempotency-Key: nightly-$file" -d "{
  \"input_file_id\": \"$file\",
  \"endpoint\": \"/v1/chat/completions\",
  \"completion_window\": \"24h\",
  \"priority\": \"high\"
}" | field id)

while told=$(ask "$url/batches/$batch") && [[ $(field status <<<"$told") =~ ^(validating|in_progress|finalizing|cancelling)$ ]]; do
  sleep 0.5
done

if answers=$(field output_file_id <<<"$told"); then
  ask "$url/files/$answers/content" --output answers.jsonl
fi
echo "$(field status <<<"$told"), \$$(field cost_usd <<<"$told")"

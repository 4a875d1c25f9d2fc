#!/bin/sh
# Prints an .env for docker-compose.yml, with secrets of its own: sh deploy/new-env.sh > .env && chmod 600 .env
set -eu
random() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }
cat <<END
# Your providers' keys: those that are set are used.
#OPENAI_API_KEY=
#ANTHROPIC_API_KEY=
#GEMINI_API_KEY=
#OPENROUTER_API_KEY=

# Where reports and alerts go; until both are set, http://127.0.0.1:8025 shows them.
#SMTP_URL=smtp://user:password@host:587
#ADMIN_EMAILS=you@example.com
#MAIL_FROM=batchmill@example.com
#BATCHMILL_TIMEZONE=Europe/Berlin

# Made just now. API keys are void with another BATCHMILL_KEYS_SECRET, and the database opens only with the
# password that it was made with.
BATCHMILL_KEYS_SECRET=$(random 32)
POSTGRES_PASSWORD=$(random 16)
BATCHMILL_METRICS_TOKEN=$(random 16)
BATCHMILL_FLOWER_AUTH=admin:$(random 12)
GRAFANA_PASSWORD=$(random 12)
END

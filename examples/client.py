"""Hands in a few requests, waits, and prints the answers: `python examples/client.py`.

Without BATCHMILL_BASE_URL the service of this machine's home is started for it. With a provider's key it asks that
provider; with `OPENAI_BASE_URL` a server of yours, `batchmill sandbox` for instance, which costs nothing.
"""

from collections.abc import Iterator

from batchmill import BatchFailedError, Client

CAPITALS = ("Peru", "Chile", "Bolivia")


def requests() -> Iterator[dict[str, str]]:
    """They are sent as they are made, however many there are."""
    for country in CAPITALS:
        yield {"id": country.lower(), "prompt": f"Capital of {country}? One word."}


def main() -> None:
    """From the first request to the last answer."""
    with Client() as client:
        batch = client.submit(requests(), model="gpt-4o-mini", job_name="capitals", budget_usd="0.10")
        try:
            batch.wait()
        except BatchFailedError as failed:
            for fault in failed.errors:
                print(f"line {fault.line}: {fault.message}")
            raise SystemExit(1) from failed
        for result in batch.results():
            print(f"{result.custom_id}: {result.text if result.ok else result.error}")
        print(f"{batch.counts.completed} of {batch.counts.total} answered, ${batch.cost_usd}")


if __name__ == "__main__":
    main()

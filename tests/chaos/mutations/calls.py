"""Broken dispatch, cache and delivery: calls that nobody knows of, that were needless, or whose answers get lost."""

from tests.chaos.mutations.scenes import A_RUN_DIES, ALL_ARE_ANSWERED, LEFT_ALONE, ON_BOTH, ON_SERVER
from tests.support.mutants import Edit, Mutant

DISPATCH = [
    Mutant(
        name="a call is made before it is committed that it is",
        edits=[
            Edit(
                "db/journal.py",
                "                lambda tx: settling.write(\n                    tx,\n",
                "                lambda tx: self._early(\n                    sends,\n                    tx,\n",
            ),
            Edit(
                "db/journal.py",
                "    def _measure(self, written: Written, took_s: float) -> None:\n",
                "    def _early(self, sends, tx, *given, **more):\n"
                "        written = settling.write(tx, *given, **more)\n"
                "        if sends:\n"
                "            sends[0].sent.get_loop().call_soon_threadsafe(self._tell_sends, written, sends)\n"
                "            __import__('time').sleep(0.3)\n"
                "        return written\n"
                "\n"
                "    def _measure(self, written: Written, took_s: float) -> None:\n",
            ),
        ],
        scenario=LEFT_ALONE,
        found_by=["§10.3"],
        dialects=ON_SERVER,
    ),
    Mutant(
        name="a line does not count its calls",
        edits=[
            Edit(
                "db/settle.py",
                '            "attempts": outcome.attempt.number,\n',
                '            "attempts": outcome.attempt.job.attempts,\n',
            )
        ],
        scenario=ALL_ARE_ANSWERED,
        found_by=["§10.4 attempt-counts"],
        dialects=ON_SERVER,
    ),
    Mutant(
        name="every call of a line has the same name",
        edits=[
            Edit(
                "batchmill/pipeline.py",
                "client_request_id(job.batch.public_id, job.request_id, attempt.number)",
                "client_request_id(job.batch.public_id, job.request_id, 1)",
            )
        ],
        scenario=ALL_ARE_ANSWERED,
        found_by=["§10.2 witness-once"],
    ),
    Mutant(
        name="a call is made twice",
        edits=[
            Edit(
                "batchmill/pipeline.py",
                "            return await self.providers[provider].call(call)\n",
                "            await self.providers[provider].call(call)\n"
                "            return await self.providers[provider].call(call)\n",
            )
        ],
        scenario=ALL_ARE_ANSWERED,
        found_by=["§10.2 witness-once"],
    ),
]

CACHE = [
    Mutant(
        name="who asks the same does not wait",
        edits=[
            Edit(
                "db/lookup.py",
                "        leaders += [job for job in group if job.request_id == leading[key]]\n"
                "        parked = [job for job in group if job.request_id != leading[key]]\n",
                "        leaders += group\n        parked = []\n",
            )
        ],
        scenario=ALL_ARE_ANSWERED,
        found_by=["§10.2 double-calls", "paid twice"],
        dialects=ON_BOTH,
    ),
    Mutant(
        name="the cache finds nothing",
        edits=[
            Edit("db/lookup.py", "    hits = usable(cache.find(tx, keyed), keyed)\n", "    hits = {}\n"),
            Edit(
                "db/claims.py",
                "    return hits.answer(tx, first=first, last=last, since_ms=since_ms)\n",
                "    return Counter()\n",
            ),
        ],
        scenario=ALL_ARE_ANSWERED,
        found_by=["paid twice"],
        dialects=ON_SERVER,
    ),
]

DELIVERY = [
    Mutant(
        name="a line is left out",
        edits=[
            Edit(
                "workers/delivery.py",
                "        if row.state in ENDED:\n",
                "        if row.state in ENDED and row.id % 60 != 7:\n",
            )
        ],
        scenario=A_RUN_DIES,
        found_by=["§10.1 not each line once"],
    ),
    Mutant(
        name="a file has its name before it is whole",
        edits=[
            Edit(
                "batchmill/results/files.py",
                "        self._temporary = _temporary(self._target)\n",
                "        self._temporary = self._target\n",
            ),
        ],
        scenario=A_RUN_DIES,
        found_by=["§10.1 half of a file"],
        dialects=ON_SERVER,
    ),
]

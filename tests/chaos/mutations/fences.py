"""Broken fences: who has lost a lease acts as if it had not."""

from tests.chaos.mutations.scenes import A_SLEEPER, ALL_STAND_STILL, ON_SERVER, ONE_WAKES_LATE
from tests.support.mutants import Edit, Mutant

FENCES = [
    Mutant(
        name="a lost claim's answer ends its line",
        edits=[
            Edit(
                "db/settle.py",
                "    held = [o for o in outcomes if o.attempt.job.claim_id in leases and o.attempt.id in on_time]\n",
                "    held = [o for o in outcomes if o.attempt.id in known]\n",
            ),
            Edit(
                "db/requests.py",
                '            requests.c.claim_id == row["claim_id"],\n'
                "            requests.c.state == word(RequestState.CLAIMED),\n"
                "        )\n"
                "        .values(\n",
                "        )\n        .values(\n",
            ),
        ],
        scenario=ONE_WAKES_LATE,
        found_by=["§10.5", "§10.8 counters"],
        dialects=ON_SERVER,
    ),
    Mutant(
        name="a call is written down under a lost claim",
        edits=[
            Edit(
                "db/settle.py",
                "    sends = [send for send in work.sends if leases.get(send.job.claim_id, 0) > tx.now_ms]\n",
                "    sends = list(work.sends)\n",
            ),
            Edit("batchmill/pipeline.py", "or not self.journal.holds(job.claim_id)", ""),
            Edit("workers/pump.py", "if job.claim_id in kept)", "if kept is not None)"),
        ],
        scenario=ALL_STAND_STILL,
        found_by=["§10.4 attempt-counts", "§10.5 calls-in-flight"],
        dialects=ON_SERVER,
    ),
    Mutant(
        name="a call that is written down is made after its lease",
        edits=[Edit("batchmill/pipeline.py", "or not self.journal.holds(job.claim_id)", "")],
        scenario=A_SLEEPER,
        found_by=["§10.10"],
        dialects=ON_SERVER,
    ),
]

"""Broken settlements: what has ended is written down in part, or twice."""

from tests.chaos.mutations.scenes import ALL_ARE_ANSWERED, ON_BOTH, ON_SERVER
from tests.support.mutants import Edit, Mutant

SETTLEMENT = [
    Mutant(
        name="a line that ends is not counted",
        edits=[
            Edit(
                "db/settle.py",
                "        page.add(outcome.attempt.job.batch.id, **{outcome.state.value: 1})\n",
                "        pass\n",
            )
        ],
        scenario=ALL_ARE_ANSWERED,
        found_by=["§10.8 counters"],
    ),
    Mutant(
        name="a call is not entered in the ledger",
        edits=[
            Edit(
                "db/settle.py",
                "            page.entries.append(ledger.of_outcome(tx, outcome))\n",
                "            pass\n",
            )
        ],
        scenario=ALL_ARE_ANSWERED,
        found_by=["§10.7 ledger-entries"],
        dialects=ON_SERVER,
    ),
    Mutant(
        name="a call is entered in the ledger twice",
        edits=[
            Edit(
                "db/settle.py",
                "            page.entries.append(ledger.of_outcome(tx, outcome))\n",
                "            page.entries += [ledger.of_outcome(tx, outcome)] * 2\n",
            )
        ],
        scenario=ALL_ARE_ANSWERED,
        found_by=["§10.7 ledger-entries"],
    ),
    Mutant(
        name="what a batch has spent is not added up",
        edits=[Edit("db/settle.py", "            spent_nanos=outcome.cost.nanos or 0,\n", "")],
        scenario=ALL_ARE_ANSWERED,
        found_by=["§10.7 spent"],
        dialects=ON_SERVER,
    ),
    Mutant(
        name="a call costs a nano-dollar less than it was charged",
        edits=[
            Edit(
                "db/attempts.py",
                '            "cost_nanos": outcome.cost.nanos,\n',
                '            "cost_nanos": outcome.cost.nanos and outcome.cost.nanos - 1,\n',
            ),
            Edit(
                "db/ledger.py",
                '        "cost_nanos": outcome.cost.nanos,\n',
                '        "cost_nanos": outcome.cost.nanos and outcome.cost.nanos - 1,\n',
            ),
            Edit(
                "db/settle.py",
                "            spent_nanos=outcome.cost.nanos or 0,\n",
                "            spent_nanos=(outcome.cost.nanos or 1) - 1,\n",
            ),
            Edit(
                "db/settle.py",
                "                cost_nanos=outcome.cost.nanos,\n",
                "                cost_nanos=outcome.cost.nanos and outcome.cost.nanos - 1,\n",
            ),
        ],
        scenario=ALL_ARE_ANSWERED,
        found_by=["§10.7 witness-bill"],
    ),
    Mutant(
        name="who waits for an answer is not told",
        edits=[
            Edit(
                "db/settle.py",
                "    page.answer_waiting(tx, flights.land(tx, list(hits)), hits)\n",
                "    flights.land(tx, list(hits))\n",
            )
        ],
        scenario=ALL_ARE_ANSWERED,
        found_by=["§10.1 waiting"],
        dialects=ON_BOTH,
    ),
    Mutant(
        name="answers are not kept",
        edits=[
            Edit(
                "db/settle.py",
                "for outcome in (*ended, *kept)}.values()))\n",
                "for outcome in ()}.values()))\n",
            )
        ],
        scenario=ALL_ARE_ANSWERED,
        found_by=["§10.1 answers"],
    ),
]

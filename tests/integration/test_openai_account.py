"""The account at OpenAI as it is set up: whom each call and each look at it bills."""

import asyncio

import pytest

from batchmill.settings import load_settings
from tests.support.provider_servers import KEY, chat, http, misbehaving
from tests.support.vendors import Seen, told
from workers.assembly import make_providers


@pytest.mark.parametrize("is_set", [True, False])
def test_organisation_and_project_are_told(is_set: bool) -> None:
    """With calls and probes; one that is not set is not told."""
    seen: Seen = []
    whose = {"OPENAI_ORG_ID": "org-1", "OPENAI_PROJECT_ID": "proj-2"} if is_set else {}

    async def run() -> None:
        async with misbehaving(told(http(), seen)) as base_url:
            settings = load_settings({"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": base_url} | whose, None)
            for provider in make_providers(settings, 1).values():
                await provider.call(chat())
                await provider.probe()
                await provider.close()

    asyncio.run(run())
    assert len(seen) == 2
    for head, _ in seen:
        assert ("OpenAI-Organization: org-1\r\n" in head, "OpenAI-Project: proj-2\r\n" in head) == (
            is_set,
            is_set,
        )
        assert ("OpenAI-" in head) is is_set

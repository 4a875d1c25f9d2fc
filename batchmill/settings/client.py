"""The producers' client, as `batchmill config` shows it; the client itself reads these in `contact.py`."""

from pydantic import SecretStr

from batchmill.settings.contact import API_KEY_VARIABLE, BASE_URL_VARIABLE
from batchmill.settings.fields import Group, HttpUrl, setting


class ClientSettings(Group):
    """The service that `batchmill.Client` hands requests to."""

    base_url: HttpUrl | None = setting(
        None,
        BASE_URL_VARIABLE,
        meaning="Where the service is; by default the one of this home, which is started when it is not there.",
        accepts="http:// or https:// and a host",
        repr=False,
    )
    api_key: SecretStr | None = setting(
        None,
        API_KEY_VARIABLE,
        meaning="The key that the service gave you; the service of this home wants none.",
        accepts="a key as `batchmill keys create` shows it",
        repr=False,
    )

"""People and programs who use the API in the tests: with a password, a token or a browser."""

from http.cookies import SimpleCookie
from typing import Any

from tests.integration.admin.conftest import Answer, Api, basic

ASHA = "asha@duka.example"
ASHAS_PASSWORD = "kahawa-na-tangawizi"


async def create_user(
    api: Api, name: str = ASHA, role: str = "admin", password: str = ASHAS_PASSWORD
) -> str:
    """The id of a new user, made by the user admin."""
    body = {"name": name, "role": role, "password": password}
    answer = await api.call("POST", "/admin/users", json=body)
    assert answer.status == 201, answer.body
    return str(answer.body["id"])


async def create_token(api: Api, *scopes: str, **fields: Any) -> tuple[str, str]:
    """The id and the text of a new token, made by the user admin."""
    body = {"name": "a test", "scopes": scopes, **fields}
    answer = await api.call("POST", "/admin/tokens", json=body)
    assert answer.status == 201, answer.body
    return answer.body["id"], answer.body["token"]


def as_user(name: str = ASHA, password: str = ASHAS_PASSWORD) -> dict[str, str]:
    return {"Authorization": basic(password, user=name)}


def as_program(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


class Browser:
    """Keeps the session's cookie and sends what a page of ours would."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.cookie = ""
        self.csrf = ""
        self.session_id = ""

    async def log_in(self, user: str = ASHA, password: str = ASHAS_PASSWORD) -> Answer:
        answer = await self.call(
            "POST", "/admin/session", json={"user": user, "password": password}
        )
        if answer.status == 201:
            self.csrf = answer.body["csrf_token"]
            self.session_id = answer.body["session"]["id"]
        return answer

    async def call(self, method: str, path: str, **options: Any) -> Answer:
        own = {"Sec-Fetch-Site": "same-origin", "Origin": self._api.base}
        own |= {"X-CSRF-Token": self.csrf} if self.csrf else {}
        own |= {"Cookie": f"__Host-flowhq={self.cookie}"} if self.cookie else {}
        headers = {
            name: value for name, value in (own | options.pop("headers", {})).items() if value
        }
        answer = await self._api.anonymous(method, path, headers=headers, **options)
        if "Set-Cookie" in answer.headers:
            self.cookie = SimpleCookie(answer.headers["Set-Cookie"])["__Host-flowhq"].value
        return answer

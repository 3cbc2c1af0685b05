"""The users who can press Allow: samples, and those that tests add. All of it is assumed."""

import threading
from dataclasses import asdict, dataclass
from typing import Any

from integrations.sandbox.storage import Storage


@dataclass(frozen=True)
class Account:
    """A SnapInspect user. `names_company`: whether `/user` includes the company (the vendor does not document it)."""

    user_id: int
    name: str
    email: str
    company_id: int
    company_name: str
    names_company: bool = True

    def as_user(self) -> dict[str, Any]:
        """The answer of `GET /user`. Its shape is assumed; only the name `iCompanyID` is known, from webhooks."""
        user: dict[str, Any] = {"iUserID": self.user_id, "sName": self.name, "sEmail": self.email}
        if self.names_company:
            user["company"] = {"iCompanyID": self.company_id, "sCompanyName": self.company_name}
        return user


SAMPLES = (
    Account(501, "Pat Harbour", "pat@harbour.example", 6847, "Harbour Property"),
    Account(502, "Robin Quay", "robin@harbour.example", 6847, "Harbour Property"),
    Account(601, "Alex Meadow", "alex@meadow.example", 7001, "Meadow Lettings"),
    Account(602, "Jo Hedge", "jo@meadow.example", 7001, "Meadow Lettings"),
    Account(701, "Kim Lantern", "kim@lantern.example", 7250, "Lantern Homes", names_company=False),
)


class Accounts:
    """All accounts, by user ID."""

    KIND = "account"

    def __init__(self, storage: Storage) -> None:
        self._lock = threading.Lock()
        self._storage = storage
        self._by_id = {account.user_id: account for account in SAMPLES}
        for record in storage.load(self.KIND):
            self._by_id[record["user_id"]] = Account(**record)

    def find(self, user_id: int | str) -> Account | None:
        """The account with this user ID, given as a number or as text."""
        try:
            return self._by_id.get(int(user_id))
        except (TypeError, ValueError):
            return None

    def all(self) -> list[Account]:
        return list(self._by_id.values())

    def companies(self) -> dict[int, str]:
        """Company names by company ID."""
        return {account.company_id: account.company_name for account in self.all()}

    def add(self, company: int, user_id: int | None = None) -> Account:
        """A new account of this company. `user_id`: replaces the account with this ID; None takes a free one."""
        with self._lock:
            number = user_id or max(self._by_id) + 1
            email = f"user{number}@company{company}.example"
            account = Account(number, f"User {number}", email, company, f"Company {company}")
            self._storage.save(self.KIND, {str(number): asdict(account)})
            self._by_id[number] = account
        return account

    def reset(self) -> None:
        """Removes all accounts but the samples."""
        with self._lock:
            self._storage.clear(self.KIND)
            self._by_id = {account.user_id: account for account in SAMPLES}

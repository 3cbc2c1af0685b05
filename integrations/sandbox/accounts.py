"""The people who can press Allow: sample users of sample companies, all of them assumed."""

import threading
from dataclasses import asdict, dataclass
from typing import Any

from integrations.sandbox.records import Records


@dataclass(frozen=True)
class Account:
    """A SnapInspect user. `names_company`: whether `/user` tells the company (the vendor's page does not say)."""

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


SAMPLE = (
    Account(501, "Pat Harbour", "pat@harbour.example", 6847, "Harbour Property"),
    Account(502, "Robin Quay", "robin@harbour.example", 6847, "Harbour Property"),
    Account(601, "Alex Meadow", "alex@meadow.example", 7001, "Meadow Lettings"),
    Account(602, "Jo Hedge", "jo@meadow.example", 7001, "Meadow Lettings"),
    Account(701, "Kim Lantern", "kim@lantern.example", 7250, "Lantern Homes", names_company=False),
)


class Accounts:
    """Every account, by user ID."""

    KIND = "account"

    def __init__(self, records: Records) -> None:
        self._lock = threading.Lock()
        self._records = records
        self._by_id = {account.user_id: account for account in SAMPLE}
        for record in records.load(self.KIND):
            self._by_id[record["user_id"]] = Account(**record)

    def find(self, user_id: int | str) -> Account | None:
        """The account of that user ID, as a number or as a form's text."""
        try:
            return self._by_id.get(int(user_id))
        except (TypeError, ValueError):
            return None

    def all(self) -> list[Account]:
        return list(self._by_id.values())

    def companies(self) -> dict[int, str]:
        """Company names by company ID."""
        return {account.company_id: account.company_name for account in self.all()}

    def add(self, account: Account) -> None:
        """Adds one more account, or changes the one with the same user ID."""
        with self._lock:
            self._records.save(self.KIND, {str(account.user_id): asdict(account)})
            self._by_id[account.user_id] = account

    def reset(self) -> None:
        """Back to the samples."""
        with self._lock:
            self._records.clear(self.KIND)
            self._by_id = {account.user_id: account for account in SAMPLE}

"""Inspections, their reviews, and the events they cause. The inspection's shape is assumed, the payloads are not."""

import threading
from collections import defaultdict, deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from integrations.sandbox.storage import Record, Storage

Event = dict[str, Any]

SAMPLE_DATE = "2025-01-15T09:00:00.000000+00:00"
SAMPLES = (
    (1388561, 6847, "Entry inspection, 12 Harbour Street", "Completed"),
    (1388562, 6847, "Routine inspection, 3 Quay Lane", "Uploaded"),
    (1388601, 7001, "Entry inspection, 8 Meadow Row", "Completed"),
    (1388602, 7001, "Exit inspection, 21 Hedge Close", "Uploaded"),
    (1388701, 7250, "Routine inspection, 5 Lantern Square", "Uploaded"),
)
FIRST_REVIEW_ID = 90001
EVENTS_KEPT = 20_000


class EventList:
    """The events, newest last. Kept in memory only."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._events: deque[Event] = deque(maxlen=EVENTS_KEPT)

    def add(self, payload: dict[str, Any]) -> Event:
        """The new event. `payload`: the body of its webhooks, as the vendor's page shows it."""
        with self._lock:
            self._count += 1
            time = datetime.now(UTC).isoformat()
            self._events.append({"sequence": self._count, "time": time, "payload": payload})
            return self._events[-1]

    def find(self, sequence: str) -> Event | None:
        return next((event for event in self.all() if str(event["sequence"]) == sequence), None)

    def all(self) -> list[Event]:
        with self._lock:
            return list(self._events)

    def reset(self) -> None:
        with self._lock:
            self._events.clear()


class Inspections:
    """All inspections. A change is stored first, then `announce` gets the payload of its event."""

    KIND = "inspection"

    def __init__(self, storage: Storage, announce: Callable[[dict[str, Any]], None]) -> None:
        self._storage = storage
        self._announce = announce
        self._lock = threading.Lock()
        self._load()

    def _load(self) -> None:
        self._by_id: dict[int, Record] = {}
        self._of_company: dict[int, dict[int, Record]] = defaultdict(dict)
        self._last_inspection = 0
        self._last_review = FIRST_REVIEW_ID - 1
        for number, company, title, status in SAMPLES:
            self._remember(new_record(number, company, title, status, SAMPLE_DATE))
        for record in self._storage.load(self.KIND):
            self._remember(record)

    def find(self, inspection_id: int | str) -> Record | None:
        """The inspection with this ID, given as a number or as text."""
        try:
            return self._by_id.get(int(inspection_id))
        except (TypeError, ValueError):
            return None

    def of_company(self, company: int, *, since: datetime | None = None) -> list[Record]:
        """A company's inspections, the earliest change first. `since`: only those changed then or later."""
        with self._lock:
            found = list(self._of_company.get(company, {}).values())
        if since is not None:
            found = [record for record in found if datetime.fromisoformat(record["dtUpdated"]) >= since]
        return sorted(found, key=lambda record: (record["dtUpdated"], record["iInspectionID"]))

    def upload(self, company: int, title: str) -> Record:
        """A new inspection, as if the vendor's app had sent it."""
        with self._lock:
            record = new_record(self._last_inspection + 1, company, title, "Uploaded", now())
            self._save(record)
        self._announce({"sType": "Create_Inspection", **ids(record)})
        return record

    def change_status(self, inspection: Record, status: str) -> None:
        record = self._change(inspection, lambda _: {"sStatus": status})
        self._announce({"sType": "Update_Inspection_Status", **ids(record), "sStatus": status})

    def create_review(self, inspection: Record) -> None:
        def add(record: Record) -> Record:
            return {"reviews": [*record["reviews"], {"iInsReviewID": self._last_review + 1, "bSigned": False}]}

        record = self._change(inspection, add)
        self._announce({"sType": "Create_Review", "iInsReviewID": record["reviews"][-1]["iInsReviewID"], **ids(record)})

    def sign_review(self, inspection: Record, review_id: int) -> bool:
        """False if the inspection has no such unsigned review."""
        unsigned = {"iInsReviewID": review_id, "bSigned": False}
        found = False

        def sign(record: Record) -> Record:
            nonlocal found
            found = unsigned in record["reviews"]
            signed = {**unsigned, "bSigned": True}
            return {"reviews": [signed if review == unsigned else review for review in record["reviews"]]}

        record = self._change(inspection, sign)
        if found:
            self._announce({"sType": "Review_Signed", "iInsReviewID": review_id, **ids(record)})
        return found

    def reset(self) -> None:
        """Removes all inspections but the samples."""
        with self._lock:
            self._storage.clear(self.KIND)
            self._load()

    def _change(self, inspection: Record, changes: Callable[[Record], Record]) -> Record:
        """The inspection with these changes, saved. `changes`: is given the inspection as it is now."""
        with self._lock:
            current = self._by_id[inspection["iInspectionID"]]
            record = {**current, **changes(current), "dtUpdated": now()}
            self._save(record)
        return record

    def _save(self, record: Record) -> None:
        self._storage.save(self.KIND, {str(record["iInspectionID"]): record})
        self._remember(record)

    def _remember(self, record: Record) -> None:
        self._by_id[record["iInspectionID"]] = record
        self._of_company[record["iCompanyID"]][record["iInspectionID"]] = record
        self._last_inspection = max(self._last_inspection, record["iInspectionID"])
        self._last_review = max([self._last_review, *(review["iInsReviewID"] for review in record["reviews"])])


def new_record(inspection_id: int, company: int, title: str, status: str, updated: str) -> Record:
    """An inspection as the API shows it. Names follow the vendor's convention (`i` number, `s` text); assumed."""
    return {
        "iInspectionID": inspection_id,
        "iCompanyID": company,
        "sTitle": title,
        "sStatus": status,
        "dtUpdated": updated,
        "reviews": [],
    }


def ids(record: Record) -> dict[str, int]:
    return {"iInspectionID": record["iInspectionID"], "iCompanyID": record["iCompanyID"]}


def now() -> str:
    """The current time in UTC, always with microseconds, so that the texts sort like the moments."""
    return datetime.now(UTC).isoformat(timespec="microseconds")

"""Inspections, their reviews, and the events they cause. The record's shape is assumed, the payloads are not."""

import threading
from collections import defaultdict, deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from integrations.sandbox.records import Record, Records

Event = dict[str, Any]
Announce = Callable[[dict[str, Any]], Event]

SAMPLE_DATE = "2025-01-15T09:00:00.000000+00:00"
SAMPLE = (
    (1388561, 6847, "Entry inspection, 12 Harbour Street", "Completed"),
    (1388562, 6847, "Routine inspection, 3 Quay Lane", "Uploaded"),
    (1388601, 7001, "Entry inspection, 8 Meadow Row", "Completed"),
    (1388602, 7001, "Exit inspection, 21 Hedge Close", "Uploaded"),
    (1388701, 7250, "Routine inspection, 5 Lantern Square", "Uploaded"),
)
FIRST_REVIEW_ID = 90001
EVENTS_KEPT = 20_000


class EventList:
    """What happened, newest last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._events: deque[dict[str, Any]] = deque(maxlen=EVENTS_KEPT)

    def record(self, payload: dict[str, Any]) -> Event:
        """The event as it is kept. `payload`: what its webhook says, exactly as the vendor's page shows it."""
        with self._lock:
            self._count += 1
            time = datetime.now(UTC).isoformat()
            self._events.append({"sequence": self._count, "time": time, "payload": payload})
            return self._events[-1]

    def find(self, sequence: int | str) -> Event | None:
        """The event of that sequence number, as a number or as a form's text."""
        return next((event for event in self.all() if str(event["sequence"]) == str(sequence)), None)

    def all(self) -> list[Event]:
        with self._lock:
            return list(self._events)

    def reset(self) -> None:
        with self._lock:
            self._events.clear()


class Inspections:
    """Every inspection, by company and ID. A change replaces the record, is saved, then announced."""

    KIND = "inspection"

    def __init__(self, records: Records, announce: Announce) -> None:
        self._records = records
        self._announce = announce
        self._lock = threading.Lock()
        self._load()

    def _load(self) -> None:
        self._by_id: dict[int, Record] = {}
        self._of_company: dict[int, dict[int, Record]] = defaultdict(dict)
        self._last_inspection = 0
        self._last_review = FIRST_REVIEW_ID - 1
        for number, company, title, status in SAMPLE:
            self._remember(new_record(number, company, title, status, SAMPLE_DATE))
        for record in self._records.load(self.KIND):
            self._remember(record)

    def find(self, inspection_id: int | str) -> Record | None:
        """The inspection of that ID, as a number or as a form's text."""
        try:
            return self._by_id.get(int(inspection_id))
        except (TypeError, ValueError):
            return None

    def of_company(self, company: int, *, since: datetime | None = None) -> list[Record]:
        """A company's inspections, those changed first at the front. `since`: only what changed then or later."""
        with self._lock:
            found = list(self._of_company.get(company, {}).values())
        if since is not None:
            found = [record for record in found if datetime.fromisoformat(record["dtUpdated"]) >= since]
        return sorted(found, key=lambda record: (record["dtUpdated"], record["iInspectionID"]))

    def upload(self, company: int, title: str, *, announce: Announce | None = None) -> Record:
        """A new inspection, as if a phone had just sent it. `announce`: instead of the usual one."""
        with self._lock:
            record = new_record(self._last_inspection + 1, company, title, "Uploaded", now())
            self._keep(record)
        (announce or self._announce)({"sType": "Create_Inspection", **ids(record)})
        return record

    def change_status(self, inspection: Record, status: str) -> Record:
        with self._lock:
            record = {**self._by_id[inspection["iInspectionID"]], "sStatus": status, "dtUpdated": now()}
            self._keep(record)
        self._announce({"sType": "Update_Inspection_Status", **ids(record), "sStatus": status})
        return record

    def create_review(self, inspection: Record) -> Record:
        with self._lock:
            record = dict(self._by_id[inspection["iInspectionID"]])
            review = {"iInsReviewID": self._last_review + 1, "bSigned": False}
            record |= {"reviews": [*record["reviews"], review], "dtUpdated": now()}
            self._keep(record)
        self._announce({"sType": "Create_Review", "iInsReviewID": review["iInsReviewID"], **ids(record)})
        return record

    def sign_review(self, inspection: Record, review_id: int) -> Record | None:
        """The changed inspection, or None when it has no such review waiting for a signature."""
        with self._lock:
            record = dict(self._by_id[inspection["iInspectionID"]])
            if {"iInsReviewID": review_id, "bSigned": False} not in record["reviews"]:
                return None
            record["reviews"] = [
                {**review, "bSigned": review["bSigned"] or review["iInsReviewID"] == review_id}
                for review in record["reviews"]
            ]
            record["dtUpdated"] = now()
            self._keep(record)
        self._announce({"sType": "Review_Signed", "iInsReviewID": review_id, **ids(record)})
        return record

    def reset(self) -> None:
        """Back to the samples."""
        with self._lock:
            self._records.clear(self.KIND)
            self._load()

    def _keep(self, record: Record) -> None:
        self._records.save(self.KIND, {str(record["iInspectionID"]): record})
        self._remember(record)

    def _remember(self, record: Record) -> None:
        self._by_id[record["iInspectionID"]] = record
        self._of_company[record["iCompanyID"]][record["iInspectionID"]] = record
        self._last_inspection = max(self._last_inspection, record["iInspectionID"])
        self._last_review = max([self._last_review, *(review["iInsReviewID"] for review in record["reviews"])])


def new_record(inspection_id: int, company: int, title: str, status: str, updated: str) -> Record:
    """An inspection as the API shows it. Names follow the vendor's habit (`i` number, `s` text); assumed."""
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
    """This moment in UTC, always with microseconds, so that the texts sort as the moments do."""
    return datetime.now(UTC).isoformat(timespec="microseconds")

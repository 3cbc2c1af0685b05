"""How bodies are read, the kinds of text that requests hold, and schemas that several resources share."""

import json
from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Field, Schema
from ninja.parser import Parser
from pydantic import AfterValidator, ConfigDict, StringConstraints

from integrations.snapinspect import json_depth

LONGEST = 100


class BodyParser(Parser):
    """Refuses JSON that is nested too deeply, as any that cannot be read."""

    def parse_body(self, request: HttpRequest) -> dict[str, Any]:
        body: dict[str, Any] = json_depth.loads(
            request.body.decode(json.detect_encoding(request.body), "surrogatepass")
        )
        return body


def storable(text: str) -> str:
    """The text, if a database can store it. Raises ValueError."""
    if "\0" in text:
        raise ValueError("This holds a NUL character.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("This holds half of a surrogate pair.") from None
    return text


Text = Annotated[str, StringConstraints(max_length=LONGEST), AfterValidator(storable)]
Words = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST), AfterValidator(storable)]
Code = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]{1,16}$")]
Limit = Annotated[int, Field(ge=1, le=100, description="How many, at most.")]
After = Annotated[
    str,
    StringConstraints(max_length=200, pattern=r"^[\x21-\x7e]*$"),
    Field(description="`next` of the page before."),
]


class Asked(Schema):
    """The body of a request: members that are not known are refused, since a typing error would else be ignored."""

    model_config = ConfigDict(extra="forbid", strict=True)


class CustomerReference(Schema):
    code: str
    external_id: str | None

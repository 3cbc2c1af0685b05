"""The description of the API (OpenAPI 3.1): what ninja writes, with the problems and the scopes that it leaves out."""

from typing import Any

from ninja import Field, NinjaAPI, Schema
from ninja.openapi.schema import OpenAPISchema
from ninja.operation import Operation

from integrations.api import problems
from integrations.api.access import ApiKeyBearer


class FieldError(Schema):
    field: str = Field(description="The path of the field, such as body.name or query.limit.")
    detail: str


class ProblemOut(Schema):
    """RFC 9457."""

    type: str = Field(description="Decide by this: it does not change.")
    title: str
    status: int
    detail: str = Field(description="What happened, and what to do.")
    request_id: str = Field(description="Stands in the operator's logs, too.")
    errors: list[FieldError] | None = Field(None, description="Of a 422: each field that is wrong.")
    scope: str | None = Field(None, description="Of a 403: the scope that the key does not have.")


class Description(OpenAPISchema):
    def responses(self, operation: Operation) -> dict[int, dict[str, Any]]:
        """What the operation answers. Those that describe their answers themselves have no others."""
        if "responses" in (operation.openapi_extra or {}):
            return {}
        problem = {"$ref": "#/components/responses/Problem"}
        statuses = sorted({status for status, _ in problems.KINDS.values()})
        return {**super().responses(operation), **dict.fromkeys(statuses, problem)}

    def operation_security(self, operation: Operation) -> list[dict[str, Any]] | None:
        """The scope stands where OpenAPI 3.1 has the names of roles (section 4.8.30)."""
        found = super().operation_security(operation)
        scopes = [
            auth.scope.value for auth in operation.auth_callbacks if isinstance(auth, ApiKeyBearer) and auth.scope
        ]
        return [dict.fromkeys(one, scopes) for one in found or []]

    def get_components(self) -> dict[str, Any]:
        schema = ProblemOut.model_json_schema(ref_template="#/components/schemas/{model}")
        self.add_schema_definitions({**schema.pop("$defs"), "ProblemOut": schema})
        content = {problems.CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemOut"}}}
        problem = {"description": "A problem: `type` says which, `detail` what to do.", "content": content}
        return {**super().get_components(), "responses": {"Problem": problem}}


class DescribedAPI(NinjaAPI):
    def get_openapi_schema(
        self, *, path_prefix: str | None = None, path_params: dict[str, Any] | None = None
    ) -> OpenAPISchema:
        return Description(self, self.get_root_path(path_params or {}) if path_prefix is None else path_prefix)

    def get_openapi_operation_id(self, operation: Operation) -> str:
        """The function's name, which generated clients take for their methods."""
        return operation.view_func.__name__

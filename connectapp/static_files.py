"""How production serves static files."""

from functools import cache

from whitenoise.storage import CompressedManifestStaticFilesStorage  # type: ignore[import-untyped]


class StaticFiles(CompressedManifestStaticFilesStorage):  # type: ignore[misc]  # without types
    """whitenoise's storage, which looks each URL up once in a process: no file changes while one runs."""

    @cache  # noqa: B019  (there is one of it)
    def url(self, name: str, force: bool = False) -> str:
        return str(super().url(name, force))

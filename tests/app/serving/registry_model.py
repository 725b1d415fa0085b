"""A reference model of the registry: it tracks the models directory, and predicts what the registry must serve."""

from dataclasses import dataclass, field

from app.errors import ArtifactError, PricecastError, UnknownModel

UNREADABLE = "latest"  # content of a `current` file that holds no version number
NO_DIRECTORY = ".: the models directory does not exist"


@dataclass
class RegistryModel:
    """The content of the models directory, and the state that the registry must have.

    Attributes:
        versions_served: Maximum number of versions served of each model.
        default_model: The model whose absence is a failure.
        published: The fault of each published version (None if it loads), by name and version.
        current: Content of each `current` file, by name.
        is_directory_gone: Whether the models directory is missing.
        is_writable: Whether `current` can be written.
        live: The live version, by name.
        previous: The version that was live before, by name.
        served: The served versions, by name.
        overrides: The version that `current` named and the version to serve instead, by name.
        failures: The reason of each failure, by name or reference.
        reported: The failures that were reported, by name or reference.
    """

    versions_served: int
    default_model: str
    published: dict[str, dict[str, str | None]] = field(default_factory=dict)
    current: dict[str, str] = field(default_factory=dict)
    is_directory_gone: bool = False
    is_writable: bool = True
    live: dict[str, str] = field(default_factory=dict)
    previous: dict[str, str] = field(default_factory=dict)
    served: dict[str, set[str]] = field(default_factory=dict)
    overrides: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    reported: list[str] = field(default_factory=list)
    last_scan: object = None

    def refresh(self, *, only_if_changed: bool) -> None:
        """Serve the versions that the directory and the overrides select."""
        names = set() if self.is_directory_gone else set(self.published)
        for name in names & self.overrides.keys():
            if self.current[name] not in (self.overrides[name][0], UNREADABLE):
                del self.overrides[name]
        scan = {name: (self.current[name], sorted(self.published[name])) for name in names}, dict(self.overrides)
        if only_if_changed and scan == self.last_scan:
            return
        self.last_scan = scan
        self.failures = {}  # failures that do not recur are forgotten
        for name in names:
            self._refresh_model(name)
        for name in {*self.live, self.default_model} - names:
            self._fail(name, NO_DIRECTORY if self.is_directory_gone else f"{name}: no published version")

    def load(self, name: str, version: str | None) -> type[PricecastError] | str:
        """Make a version live, and return the type of the error or the reference of the live version."""
        if self.is_directory_gone or name not in self.published:
            return UnknownModel
        if self.current[name] == UNREADABLE and version is None:
            return ArtifactError
        version = version or self.current[name]
        if version not in self.published[name]:
            return UnknownModel
        if fault := self._fault(name, version):
            self._fail(f"{name}@{version}", fault)
            return ArtifactError
        self._make_live(name, version)
        if version == self.current[name] or self.is_writable:
            self.current[name] = version
            self.overrides.pop(name, None)
        elif self.current[name] != UNREADABLE:
            self.overrides[name] = self.current[name], version
        self._adjust_versions(name, failed=None)
        return f"{name}@{version}"

    def unload(self, name: str) -> type[PricecastError] | None:
        """Stop serving a model, and return the type of the error, if any."""
        if name not in self.live:
            return UnknownModel
        if not self.is_directory_gone and self.current.get(name, UNREADABLE) != UNREADABLE:
            self.overrides[name] = self.current[name], None
        self._remove(name)
        return None

    def _refresh_model(self, name: str) -> None:
        instead_of, override = self.overrides.get(name, (None, None))
        version = self.current[name]
        if instead_of == version:
            if override is None:
                self._remove(name)
                return
            version = override
        failed = None
        if version == UNREADABLE:
            self._fail(name, f"{name}/current: must contain a version number, such as 1")
        elif fault := self._fault(name, version):
            self._fail(name, fault)
            failed = version
        else:
            self._make_live(name, version)
        self._adjust_versions(name, failed=failed)

    def _fault(self, name: str, version: str) -> str | None:
        """Return why a version cannot be loaded, or None. A version that is already served is not read again."""
        if version in self.served.get(name, ()):
            return None
        if version not in self.published[name]:
            return f"{name}/{version}: it is not there"
        fault = self.published[name][version]
        return None if fault is None else f"{name}/{version}: {fault}"

    def _fail(self, reference: str, reason: str) -> None:
        self.failures[reference] = reason
        self.reported.append(reference)

    def _make_live(self, name: str, version: str) -> None:
        if name in self.live and self.live[name] != version:
            self.previous[name] = self.live[name]
        self.live[name] = version
        self.failures.pop(name, None)
        self.failures.pop(f"{name}@{version}", None)

    def _adjust_versions(self, name: str, *, failed: str | None) -> None:
        """Serve the live, the previous and the newest versions, as far as they can be loaded."""
        newest = sorted((version for version in self.published[name] if version != failed), key=int, reverse=True)
        kept: list[str] = []
        for version in dict.fromkeys([self.live.get(name), self.previous.get(name), *newest]):
            if version is None or len(kept) == self.versions_served:
                continue
            if fault := self._fault(name, version):
                self._fail(f"{name}@{version}", fault)
            else:
                self.failures.pop(f"{name}@{version}", None)
                kept.append(version)
        self.served[name] = set(kept)
        if self.previous.get(name) not in kept:
            self.previous.pop(name, None)

    def _remove(self, name: str) -> None:
        for by_name in (self.live, self.previous, self.failures):
            by_name.pop(name, None)
        self.served.pop(name, None)

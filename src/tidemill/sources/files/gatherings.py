"""The three ways in which files belong together: by their names, by a list, by a file that says "all is there"."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from wcmatch import glob

from tidemill.project.model import FileSource
from tidemill.project.name_pattern import NamePattern
from tidemill.sources.files.manifest import Listed as Line
from tidemill.sources.files.manifest import ManifestInvalid, parse_manifest
from tidemill.sources.files.reader import Landed
from tidemill.sources.files.sets import FileSet, Gathering

__all__ = ["Listed", "Parts", "Success", "gathering_for"]

_FLAGS = glob.GLOBSTAR | glob.BRACE | glob.CASE | glob.FORCEUNIX


class Parts:
    """Sets by name: files whose names have the same key, as many as the rule or the names say."""

    def __init__(self, patterns: Sequence[str], *, count: int | None) -> None:
        self._patterns = [NamePattern(written) for written in patterns]
        self._count = count
        self._groups: dict[str, dict[str, Landed]] = {}

    def takes(self, path: str) -> bool:
        return self._place(path) is not None

    def speaks(self, path: str) -> bool:
        return False

    def reads(self, path: str) -> bool:
        return False

    def put(self, file: Landed) -> Iterable[str]:
        place = self._place(file.path)
        if place is None:
            return ()
        self._groups.setdefault(place[0], {})[file.path] = file
        return (place[0],)

    def forget(self, path: str) -> Iterable[str]:
        place = self._place(path)
        group = {} if place is None else self._groups.get(place[0], {})
        if place is None or group.pop(path, None) is None:
            return ()
        if not group:
            del self._groups[place[0]]
        return (place[0],)

    def assemble(self, key: str) -> FileSet | None:
        group = self._groups.get(key, {})
        seen, needed, keys = set(), self._count or len(self._patterns), {}
        for path in group:
            place = self._place(path)
            if place is not None:
                _, index, holes = place
                seen.add(index)
                needed = max(needed, int(holes.get("count", 0)))
                keys = {name: holes[name] for name in self._patterns[index].key_names}
        if len(group) < needed or len(seen) < len(self._patterns):
            return None
        return FileSet(key, _sorted(group.values()), keys)

    def owns(self, prefix: str, path: str) -> bool:
        return False

    def _place(self, path: str) -> tuple[str, int, Mapping[str, str]] | None:
        """Key of the set, number of the pattern, and what stands in its holes."""
        for index, pattern in enumerate(self._patterns):
            holes = pattern.match(path)
            if holes is not None:
                values = [holes[name] for name in sorted(pattern.key_names)]
                return "/".join(values) or "all", index, holes
        return None


class Listed:
    """Sets by list: a manifest names its files, with digests or without."""

    def __init__(self, manifests: str) -> None:
        self._globs = glob.compile([manifests], flags=_FLAGS)
        self._files: dict[str, Landed] = {}
        #: Path of a manifest to what it lists, by path; or why it cannot be read.
        self._lists: dict[str, Mapping[str, Line] | str] = {}
        #: Path of a file to the manifests that list it.
        self._listing: dict[str, set[str]] = {}

    def takes(self, path: str) -> bool:
        return True

    def speaks(self, path: str) -> bool:
        return bool(self._globs.match(path))

    def reads(self, path: str) -> bool:
        return self.speaks(path)

    def put(self, file: Landed) -> Iterable[str]:
        self._files[file.path] = file
        touched = set(self._listing.get(file.path, ()))
        if self.speaks(file.path):
            self._read(file)
            touched.add(file.path)
        return sorted(touched)

    def forget(self, path: str) -> Iterable[str]:
        if self._files.pop(path, None) is None:
            return ()
        self._drop_list(path)
        return sorted(self._listing.get(path, ()))

    def assemble(self, key: str) -> FileSet | None:
        control, listed = self._files.get(key), self._lists.get(key)
        if control is None or listed is None:
            return None
        if isinstance(listed, str):
            return FileSet(key, (control,), error=listed)
        files = [self._files[path] for path in listed if path in self._files]
        if len(files) < len(listed):
            return None
        wrong = tuple(file.path for file in files if not _fits(file, listed[file.path]))
        return FileSet(key, _sorted(files), control=control, wrong=wrong)

    def owns(self, prefix: str, path: str) -> bool:
        return False

    def _read(self, manifest: Landed) -> None:
        self._drop_list(manifest.path)
        folder = manifest.path.rpartition("/")[0]
        try:
            lines = parse_manifest(manifest.content or b"")
            if any(not line.name for line in lines):
                raise ManifestInvalid("it has a digest without a name")
        except ManifestInvalid as error:
            self._lists[manifest.path] = str(error)
            return
        listed = {f"{folder}/{line.name}" if folder else line.name: line for line in lines}
        if manifest.path in listed:
            self._lists[manifest.path] = "it lists itself"
            return
        self._lists[manifest.path] = listed
        for path in listed:
            self._listing.setdefault(path, set()).add(manifest.path)

    def _drop_list(self, manifest: str) -> None:
        listed = self._lists.pop(manifest, None)
        for path in () if listed is None or isinstance(listed, str) else listed:
            manifests = self._listing[path]
            manifests.discard(manifest)
            if not manifests:
                del self._listing[path]


class Success:
    """Sets by folder: everything in it and below, once a file of a certain name is there."""

    def __init__(self, name: str) -> None:
        self._name = name
        #: Prefix of a folder ("", "a/", "a/b/") to the files directly in it, the speaking one not among them.
        self._folders: dict[str, dict[str, Landed]] = {}
        self._controls: dict[str, Landed] = {}

    def takes(self, path: str) -> bool:
        return True

    def speaks(self, path: str) -> bool:
        return _split(path)[1] == self._name

    def reads(self, path: str) -> bool:
        return False

    def put(self, file: Landed) -> Iterable[str]:
        prefix, name = _split(file.path)
        if name == self._name:
            self._controls[prefix] = file
            return (prefix,)
        self._folders.setdefault(prefix, {})[file.path] = file
        return self._spoken_for(prefix)

    def forget(self, path: str) -> Iterable[str]:
        prefix, name = _split(path)
        if name == self._name:
            self._controls.pop(prefix, None)
            return self._spoken_for(prefix)
        files = self._folders.get(prefix, {})
        if files.pop(path, None) is None:
            return ()
        if not files:
            del self._folders[prefix]
        return self._spoken_for(prefix)

    def assemble(self, key: str) -> FileSet | None:
        control = self._controls.get(key)
        if control is None:
            return None
        files = [
            file
            for prefix, inside in self._folders.items()
            if prefix.startswith(key) and self._nearest(prefix) == key
            for file in inside.values()
        ]
        if not files:
            return None
        return FileSet(key, _sorted(files), control=control, below=key)

    def owns(self, prefix: str, path: str) -> bool:
        return self._nearest(_split(path)[0]) == prefix

    def _spoken_for(self, prefix: str) -> Iterable[str]:
        nearest = self._nearest(prefix)
        return () if nearest is None else (nearest,)

    def _nearest(self, prefix: str) -> str | None:
        """The nearest folder on the way up that has the file; None when no folder has."""
        return next((above for above in _above(prefix) if above in self._controls), None)


def _fits(file: Landed, line: Line) -> bool:
    return (line.digest is None or line.digest == file.digest) and (
        line.size is None or line.size == file.version.size
    )


def _sorted(files: Iterable[Landed]) -> tuple[Landed, ...]:
    return tuple(sorted(files, key=lambda file: file.path))


def _split(path: str) -> tuple[str, str]:
    """The prefix of the folder ("a/b/"), and the name in it."""
    folder, slash, name = path.rpartition("/")
    return folder + slash, name


def _above(prefix: str) -> Iterator[str]:
    """The folder itself and every folder above it, nearest first."""
    while prefix:
        yield prefix
        prefix = _split(prefix[:-1])[0]
    yield ""


def gathering_for(spec: FileSource) -> Gathering:
    """What gathers the sets of a source that has some."""
    rule = spec.file_set
    if rule is None:
        raise ValueError(f"source {spec.name} has no sets")
    if rule.manifest is not None:
        return Listed(rule.manifest)
    if rule.success is not None:
        return Success(rule.success)
    return Parts(rule.parts, count=rule.count)

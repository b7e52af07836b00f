"""The newest known view of every object, fed by watch events, our own writes and the resync.

An older version never replaces a newer one, so the three sources may arrive in any order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from qlora_operator.views import KIND_BY_NAME, JobView, Key, Kind, PodView, ResourceView, View


def owner_key(view: View) -> Key | None:
    """The QLoRAJob that a view belongs to, or is."""
    if isinstance(view, ResourceView):
        return view.key
    return (view.metadata.namespace, view.metadata.job) if view.metadata.job else None


def _differ(known: View, view: View) -> bool:
    """Whether two views of an object differ in more than its version."""
    version = view.metadata.resource_version
    return replace(known, metadata=replace(known.metadata, resource_version=version)) != view


class Cache:
    """Views by QLoRAJob. Not thread-safe: it lives in the event loop."""

    def __init__(self) -> None:
        self._views: dict[Key, dict[tuple[str, str], View]] = defaultdict(dict)
        self._newest: dict[str, int] = defaultdict(int)
        self._departed: dict[Key, dict[str, PodView]] = defaultdict(dict)

    def newest(self, kind: Kind) -> int:
        """The highest resource version that was ever told of a kind, by the end of an object or otherwise."""
        return self._newest[kind.name]

    def put(self, kind: Kind, view: View) -> Key | None:
        """Keeps a view unless a newer one is known; returns the QLoRAJob to look at, if it tells anything new."""
        self._note(kind, view)
        key = owner_key(view)
        if key is None:
            return None
        views = self._views[key]
        known = views.get((kind.name, view.metadata.name))
        if known is not None and known.metadata.resource_version >= view.metadata.resource_version:
            return None
        views[kind.name, view.metadata.name] = view
        return key if known is None or _differ(known, view) else None

    def remove(self, kind: Kind, view: View) -> Key | None:
        """Forgets an object that was deleted, unless its name has been taken by a newer one."""
        self._note(kind, view)
        key = owner_key(view)
        if key is None or key not in self._views:
            return key
        self._keep_departed(key, view)
        views = self._views[key]
        known = views.get((kind.name, view.metadata.name))
        if known is not None and known.metadata.uid == view.metadata.uid:
            del views[kind.name, view.metadata.name]
        if not views:
            del self._views[key]
            self._departed.pop(key, None)
        return key

    def _keep_departed(self, key: Key, view: View) -> None:
        """Keeps the last pods that went: that of the newest attempt may be why the others ended."""
        if isinstance(view, ResourceView):
            self._departed.pop(key, None)
        elif isinstance(view, PodView) and view.deletion_requested_at:
            departed = self._departed[key]
            attempt = view.metadata.attempt or 0
            for name in [name for name, pod in departed.items() if (pod.metadata.attempt or 0) < attempt]:
                del departed[name]
            departed[view.metadata.name] = view

    def replace(self, kind: Kind, view: View) -> None:
        """Takes over what we know better of an object than its watch, unless that has told of its end by now."""
        key = owner_key(view)
        known = self._views.get(key, {}).get((kind.name, view.metadata.name)) if key else None
        if key is not None and known is not None and known.metadata.uid == view.metadata.uid:
            self._views[key][kind.name, view.metadata.name] = view

    def replace_all(self, kind: Kind, listed: Iterable[View], before: int) -> set[Key]:
        """Takes over a complete list: what it lacks is gone. Returns the QLoRAJobs that changed.

        Args:
            before: resource version of the list; what is newer was created after the list was made. It must not be
                lower than what was known of the kind when the list was asked for: an old list brings back what has
                ended since.
        """
        changed = set()
        present = set()
        for view in listed:
            key = owner_key(view)
            if key is None:
                continue
            present.add((key, view.metadata.name))
            if self.put(kind, view) is not None:
                changed.add(key)
        for key, views in list(self._views.items()):
            for (kind_name, name), view in list(views.items()):
                vanished = kind_name == kind.name and (key, name) not in present
                if vanished and view.metadata.resource_version <= before:
                    self.remove(kind, view)
                    changed.add(key)
        return changed

    def known_jobs(self) -> list[Key]:
        """Every QLoRAJob of which anything is known."""
        return list(self._views)

    def resource(self, key: Key) -> ResourceView | None:
        """The QLoRAJob itself."""
        return next((view for view in self._of(key) if isinstance(view, ResourceView)), None)

    def resources(self) -> list[ResourceView]:
        """Every QLoRAJob."""
        return [view for key in self._views for view in self._of(key) if isinstance(view, ResourceView)]

    def jobs(self, key: Key) -> list[JobView]:
        """The batch Jobs of a QLoRAJob: its attempts."""
        return [view for view in self._of(key) if isinstance(view, JobView)]

    def pods(self, key: Key) -> list[PodView]:
        """The pods of all attempts."""
        return [view for view in self._of(key) if isinstance(view, PodView)]

    def departed_pods(self, key: Key) -> list[PodView]:
        """Pods of the newest attempt that lost any which have been deleted, as they were at their end."""
        return list(self._departed.get(key, {}).values())

    def owned(self, key: Key, owner_uid: str) -> list[tuple[Kind, View]]:
        """What is controlled by the QLoRAJob of that UID."""
        views = self._views.get(key, {})
        return [(KIND_BY_NAME[kind], view) for (kind, _), view in views.items() if view.metadata.owner_uid == owner_uid]

    def children(self, key: Key, owner_uid: str) -> frozenset[tuple[str, str]]:
        """Kind and name of the same."""
        return frozenset((kind.name, view.metadata.name) for kind, view in self.owned(key, owner_uid))

    def _note(self, kind: Kind, view: View) -> None:
        self._newest[kind.name] = max(self._newest[kind.name], view.metadata.resource_version)

    def _of(self, key: Key) -> Iterable[View]:
        return self._views.get(key, {}).values()

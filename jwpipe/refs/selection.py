"""The references of an exposure: all chosen, or one error that says what is missing, before anything runs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jwpipe.exposure import ExposureError
from jwpipe.refs.files import RefFile
from jwpipe.refs.placement import placement


class MissingReferences(ExposureError):
    """References that the exposure needs were not found; the message lists them all."""


@dataclass(frozen=True)
class References(Mapping[str, RefFile | None]):
    """The reference file of each type; ``None`` where there is none and the step leaves itself out.

    ``sources`` says for each type where the answer came from.
    """

    files: Mapping[str, RefFile | None]
    sources: Mapping[str, str]

    @classmethod
    def from_files(
        cls, files: Mapping[str, str | Path | None], header: Mapping[str, Any] | None = None
    ) -> "References":
        """References from an explicit mapping, cut to the subarray of ``header`` where it is given."""
        science = placement(header) if header is not None else None
        chosen = {
            kind: None
            if path is None or str(path) == "N/A"
            else RefFile(str(path), kind, "given", science)
            for kind, path in files.items()
        }
        return cls(chosen, {kind: "given" if file else "N/A" for kind, file in chosen.items()})

    def __getitem__(self, kind: str) -> RefFile | None:
        try:
            return self.files[kind]
        except KeyError:
            raise KeyError(
                f"no reference of type {kind} was selected for this exposure; selected: {sorted(self.files)}"
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)

"""Reference files: their choice for an exposure, and their pixels, lazy and cut to its subarray."""

from jwpipe.refs.array import RefArray
from jwpipe.refs.content import ReferenceRefused
from jwpipe.refs.files import RefFile
from jwpipe.refs.selection import MissingReferences, References, select

__all__ = ["MissingReferences", "RefArray", "RefFile", "ReferenceRefused", "References", "select"]

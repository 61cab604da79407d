"""Reference files: which ones an exposure needs, and their content as lazy arrays cut to its subarray."""

from jwpipe.refs.array import RefArray
from jwpipe.refs.content import ReferenceRefused
from jwpipe.refs.files import RefFile
from jwpipe.refs.selection import MissingReferences, References

__all__ = ["MissingReferences", "RefArray", "RefFile", "ReferenceRefused", "References"]

"""A document to a model: references looked up, then the data checked, and every mistake of both kinds told at once."""

from bridge.configuration.document import Document
from bridge.configuration.problems import ConfigurationError
from bridge.configuration.references import Enabled, MissingReferences, References, enabled_unless_false, expand
from bridge.configuration.validation import Locate, Model, as_written, validate


def read(
    document: Document, references: References, model: type[Model], *, enabled: Enabled = enabled_unless_false,
    locate: Locate = as_written,
) -> Model:  # fmt: skip
    """`document` as a `model`. Raises ConfigurationError, RefusedForSafety.

    Where a reference leads nowhere, what stands around it is checked all the same: who mistyped a key, too, need not
    start twice to hear of it. What the missing text itself would have made wrong or right is not guessed at.
    """
    try:
        kept = expand(document, references, enabled)
    except MissingReferences as missing:
        try:
            validate(document, model, kept=missing.kept, locate=locate, unknown=missing.paths)
        except ConfigurationError as others:
            raise ConfigurationError([*missing.problems, *others.problems]) from None
        raise
    return validate(document, model, kept=kept, locate=locate)

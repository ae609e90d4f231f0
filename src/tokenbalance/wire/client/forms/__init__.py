"""Forms with files (multipart/form-data, RFC 7578): read strictly while they arrive.

Strict means that the upstream cannot read other fields in the same bytes than were read here. What
honest clients never send is refused, so that it does not matter how another parser takes it.
"""

from tokenbalance.wire.client.forms.boundary import Boundary, boundary_of, is_form
from tokenbalance.wire.client.forms.form import Form
from tokenbalance.wire.client.forms.reader import FormReader

__all__ = ["Boundary", "Form", "FormReader", "boundary_of", "is_form"]

# The door: every public name and where it lives. `__init__.py` reads this file, and so do type checkers.
from . import api as api, attention as attention, bertviz as bertviz, errors as errors
from ._version import __version__ as __version__
from .api import compare as compare, roles as roles, show as show, survey as survey, trace as trace
from .capturing import capture as capture
from .doctor import check as check
from .editing import Edit as Edit, Effect as Effect, edit as edit
from .errors import (
    AddressError as AddressError,
    AttnscopeError as AttnscopeError,
    CaptureError as CaptureError,
    InputError as InputError,
    LoadError as LoadError,
    MissingDependency as MissingDependency,
    NotCaptured as NotCaptured,
    OutputError as OutputError,
    PayloadError as PayloadError,
    UnreadableFile as UnreadableFile,
)
from .head_effects import EffectTable as EffectTable, effects as effects, path_effects as path_effects
from .head_roles.table import RoleTable as RoleTable
from .models.loading import load as load
from .payload.codec import load_trace as load_trace
from .surveys.result import Survey as Survey
from .tracing.receipts import Receipt as Receipt
from .tracing.site import Site as Site
from .tracing.tokens import Tokens as Tokens
from .tracing.trace import Trace as Trace
from .views.view import View as View

__all__: list[str]

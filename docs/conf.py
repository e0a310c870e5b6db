"""How Sphinx builds these docs: ``python -m sphinx -n -W docs docs/_build/html``.

Nothing is fetched, neither to build nor to read them.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import moored
import moored.limits  # so that names in it are found from every page

project = "Moored"
author = "The Moored developers"
version = release = getattr(moored, "__version__", "")

extensions = ["myst_parser", "sphinx.ext.autodoc", "public_names"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "Moored"
html_static_path = ["_static"]
html_show_copyright = False
html_show_sphinx = False

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "member-order": "bysource", "no-value": True}
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True

# Every reference to a name of our own has to lead somewhere.  Those into other projects do not:
# their inventories would have to be fetched.
nitpicky = True
nitpick_ignore_regex = [
    (
        r"py:.*",
        r"(trio|httpx2?|httpcore|wsproto|h11|starlette|attrs?|ssl|socket|random|enum|datetime|contextlib"
        r"|collections|typing|types|os|pathlib|decimal|coredis)\..*",
    ),
    (r"py:class", r"(moored\..*\.)?M"),  # a type variable has no page
]

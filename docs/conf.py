"""How ``nox -s docs`` makes a site of this folder; warnings are errors there."""

import os
import sys
from pathlib import Path

os.environ["SPNAS_DISABLE_PLUGINS"] = "1"  # the reference is of what is built in
sys.path.insert(0, str(Path(__file__).parent / "making"))

project = "spnas"
html_title = "spnas"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton", "reference"]
exclude_patterns = ["making"]
html_theme = "furo"
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False

myst_heading_anchors = 4  # links name sections as they do on a repository's page
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_use_ivar = True  # attributes as one list
napoleon_use_rtype = False
add_module_names = False
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True

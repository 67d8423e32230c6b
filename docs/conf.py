"""Settings of the documentation: python -m sphinx -W --keep-going -b html docs docs/_build/html, without a network."""

import os
import re
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from matplotlib.figure import Figure

import skactivation

os.environ["MPLBACKEND"] = "agg"


def _only_to_absolute_paths(savefig):
    """Examples save their pictures where they run; the gallery saves them for itself, with absolute paths."""

    def saved(figure, fname, *args, **kwargs):
        if Path(fname).is_absolute():
            savefig(figure, fname, *args, **kwargs)

    return saved


Figure.savefig = _only_to_absolute_paths(Figure.savefig)
DOCS = Path(__file__).parent

project = "skactivation"
author = "The skactivation developers"
project_copyright = author
version = release = skactivation.__version__
extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx_gallery.gen_gallery"]
exclude_patterns = ["_build"]
suppress_warnings = ["config.cache"]  # the gallery's settings hold a class
templates_path = ["_templates"]

# Reference from the docstrings.
autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
default_role = "py:obj"
toc_object_entries_show_parents = "hide"

# Pages in Markdown, which are read in the repository, too: their links to examples lead to the gallery here.
myst_heading_anchors = 3
myst_links_external_new_tab = False

# The gallery, in the order in which it is read.
ORDER = [
    "plot_activations.py",
    "plot_numerical_stability.py",
    "plot_digits_softmax.py",
    "plot_softmax_vs_sigmoid.py",
    "plot_multilabel_digits.py",
    "plot_temperature_calibration.py",
    "plot_distillation.py",
    "plot_binary_screening.py",
    "plot_text_topics.py",
    "plot_convergence.py",
    "plot_choosing_the_penalty.py",
    "plot_production.py",
    "plot_dask.py",
]


class InOrder:
    """Sorts the examples as in `ORDER`."""

    def __init__(self, source):
        self.source = source

    def __call__(self, name):
        """The place of an example."""
        return ORDER.index(name)


sphinx_gallery_conf = {
    "examples_dirs": ["../examples"],
    "gallery_dirs": ["gallery"],
    "within_subsection_order": InOrder,
    "backreferences_dir": "api/examples",
    "doc_module": ("skactivation",),
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 1_000,
    "remove_config_comments": True,
    "capture_repr": (),
}

html_theme = "pydata_sphinx_theme"
html_title = "skactivation"
html_static_path = ["_static"]
html_css_files = ["skactivation.css"]
html_show_sourcelink = False
html_sidebars = {"index": [], "start": [], "benchmarks": [], "changelog": [], "contributing": []}
html_theme_options = {
    "logo": {"text": "skactivation"},
    "navbar_end": ["theme-switcher"],
    "header_links_before_dropdown": 5,
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": True,
    "icon_links": [],
}
html_math_renderer = "mathml"


def _for_the_site(app, docname, source):
    """Let links to files of the repository lead to pages of the site."""
    up = "../" * docname.count("/")
    source[0] = re.sub(r"\((?:\.\./)+examples/(plot_\w+)\.py\)", rf"({up}gallery/\1.rst)", source[0])
    if docname == "contributing":
        text = (DOCS.parent / "CONTRIBUTING.md").read_text(encoding="utf-8").replace("](docs/", "](")
        source[0] = text.replace("](README.md)", "](start.md)").replace("](CHANGELOG.md)", "](changelog.md)")


def _visit_math(writer, node):
    """Write a formula as MathML, which browsers draw without scripts."""
    block = isinstance(node, nodes.math_block)
    writer.body.append(f"<{'div' if block else 'span'} class='math'>")
    writer.body.append(tex2mathml(node.astext(), as_block=block))
    writer.body.append(f"</{'div' if block else 'span'}>")
    raise nodes.SkipNode


def setup(app):
    """Add what the settings above need."""
    app.connect("source-read", _for_the_site)
    app.add_html_math_renderer("mathml", inline_renderers=(_visit_math, None), block_renderers=(_visit_math, None))

"""What the pages of viewing.py and exploring.py are made of: files beside the sources, and templates with {{names}} in them."""

from __future__ import annotations

import json
import os
import re

from ising_rg.base import environment

VIEWER = "figures/vendor/openseadragon/openseadragon.min.js"
LICENCE = "figures/vendor/openseadragon/LICENSE.txt"


def text(name: str) -> str:
    """Return the content of a file of the package; name: its path in it, with slashes."""
    with open(os.path.join(environment.HERE, *name.split("/")), encoding="utf-8") as file:
        return file.read()


def filled(name: str, parts: dict[str, str]) -> str:
    """Return a template in which each {{name}} has been replaced by parts[name]."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], text(name))


def script_json(content: object) -> str:
    """Return JSON that may stand within a page's script, which ends at the first "</script", within strings too."""
    return json.dumps(content).replace("<", "\\u003c")

"""The page as one HTML file, which browsers open without a server or a network."""

import base64
import hashlib
import json
from pathlib import Path
from string import Template

HERE = Path(__file__).parent
# All scripts except decoder.js, in their order in the page. They share one scope
SCRIPTS = ("elements", "state", "latent", "canvas", "plot", "view", "input", "morphing", "draws")
SCRIPTS += ("panels", "legend", "table", "main")
MARK = b'<meta name="generator" content="common.explore">'  # at the top of every page


def to_html(content):
    """Return the page with this content, as bytes.

    A content security policy in the page allows only its own style and script, by their hashes.

    Args:
        content: the dict that page.content returns.
    """
    style, decoder = read("style.css"), read("scripts/decoder.js")
    script = "\n".join(read(f"scripts/{name}.js") for name in SCRIPTS)
    policy = (
        f"default-src 'none'; style-src {digest(style)}; script-src {digest(script)}; "
        "worker-src blob:; img-src data:; base-uri 'none'; form-action 'none'"
    )
    data = json.dumps(content, allow_nan=False)
    data = data.replace("<", "\\u003c")  # otherwise, a name could contain </script>
    parts = {"policy": policy, "style": style, "script": script, "decoder": decoder, "data": data}
    return Template(read("page.html")).substitute(parts).encode()


def read(name):
    """Return the text of a file in this folder."""
    return (HERE / name).read_text(encoding="utf-8")


def digest(text):
    """Return the hash of a style or script, as a content security policy requires it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

"""
Renders templates as transformers does: a JSON list of [template, variables, continued] in, of results out. What is
continued ends within its last message.
"""

import json
import sys
from datetime import datetime
from functools import lru_cache

from jinja2 import nodes
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

MARK = "CONTINUE_FINAL_MESSAGE_TAG "


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_text"), [], [], body).set_lineno(line)

    def _text(self, caller):
        return caller()


def raise_exception(message):
    raise TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


environment = ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
)
environment.filters["tojson"] = tojson
environment.globals["raise_exception"] = raise_exception
environment.globals["strftime_now"] = lambda format: datetime.now().strftime(format)
compiled = lru_cache(environment.from_string)


def mark(message):
    """Appends the mark to the message's text. Returns the text without it."""
    content = message["content"]
    if isinstance(content, str):
        message["content"] = content + MARK
        return content
    part = next(part for part in reversed(content) if "text" in part)
    text = part["text"]
    part["text"] = text + MARK
    return text


def cut(text, content):
    """The text up to the mark; without white space at its end where the template has trimmed the message."""
    if content.strip() not in text:
        raise ValueError("the last message is not in the text")
    at = text.rindex(MARK.strip())
    return text[:at] if text[at:].startswith(MARK) else text[:at].rstrip()


def render(template, variables, continued=False):
    try:
        if not continued:
            return {"text": compiled(template).render(**variables)}
        content = mark(variables["messages"][-1])
        return {"text": cut(compiled(template).render(**variables), content)}
    except Exception as error:  # noqa: BLE001
        return {"error": f"{type(error).__name__}: {error}"}


json.dump([render(*each) for each in json.load(sys.stdin)], sys.stdout)

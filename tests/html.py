"""What tests read of an HTML page, and whether it is well-formed and stands alone."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser

_VOID = {"meta", "link", "br", "hr", "img", "input"}
_REFERENCES = {"src", "href", "srcset", "data", "action", "poster"}


class ReadPage(HTMLParser):
    """A page that was read: its headings, its text, and what is wrong with it.

    Args:
        text: the page.
    """

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = re.findall(r"url\(([^)]*)\)", text)
        self.tags: Counter[str] = Counter()
        self.headings: list[str] = []
        self.words: list[str] = []
        self.faults: list[str] = []
        self.feed(text)
        self.close()
        self._check()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.references += [value or "" for name, value in attrs if name in _REFERENCES]

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1] != tag:
            self.faults.append(f"</{tag}> closes {self.open[-1:]}")
        else:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def _check(self) -> None:
        self.faults += [f"<{tag}> is not closed" for tag in self.open]
        self.faults += [
            f"id {each} twice" for each, times in Counter(self.ids).items() if times > 1
        ]
        for each in self.references:
            if not each.startswith("#"):
                self.faults.append(f"refers to {each}, outside of the page")
            elif each[1:] not in self.ids:
                self.faults.append(f"refers to {each}, which is not there")
        self.faults += [f"has a <{tag}>" for tag in ("script", "link", "iframe") if self.tags[tag]]

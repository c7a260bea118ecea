"""Formulas between dollar signs, in pages and docstrings, as MathML: browsers show it without any script."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import latex2mathml.converter
from markdown import Markdown
from markdown.blockprocessors import BlockProcessor
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor

_DISPLAYED = re.compile(r"\$\$(.+?)\$\$", re.DOTALL)
_PRIMED = re.compile(r"<msu(?:p|bsup)><mi>(\w+)</mi>(<mi>\w+</mi>)?<mi>&#x02032;</mi></msu(?:p|bsup)>")


def mathml(formula: str, display: str) -> str:
    """A LaTeX formula as a `<math>` element; words of two letters and more stand upright."""
    pieces = re.split(r"(\\text\{[^{}]*\}|\\[A-Za-z]+)", " ".join(formula.split()))
    pieces[::2] = [re.sub(r"[A-Za-z]{2,}", r"\\mathrm{\g<0>}", piece) for piece in pieces[::2]]
    pieces[1::2] = [piece.replace(r"\_", "_") for piece in pieces[1::2]]
    return _PRIMED.sub(_prime, latex2mathml.converter.convert("".join(pieces), display=display))


def _prime(found: re.Match[str]) -> str:
    """A prime beside its letter instead of above: text fonts have it raised already."""
    primed = f'<mrow><mi>{found[1]}</mi><mtext class="prime">&#x02032;</mtext></mrow>'
    return f"<msub>{primed}{found[2]}</msub>" if found[2] else primed


class _Displayed(BlockProcessor):
    """Blocks that begin with a displayed formula; several may follow each other."""

    def test(self, parent: ElementTree.Element, block: str) -> bool:
        return block.startswith("$$") and _DISPLAYED.match(block) is not None

    def run(self, parent: ElementTree.Element, blocks: list[str]) -> None:
        block = blocks.pop(0)
        end = 0
        while found := _DISPLAYED.match(block, end):
            # A comma and a wide space separate equations: each gets a line.
            for equation in re.split(r",\s*\\quad(?!\s*\\text)", found[1]):
                element = ElementTree.SubElement(parent, "div", {"class": "formula"})
                element.text = self.parser.md.htmlStash.store(mathml(equation, "block"))
            end = found.end() + len(re.match(r"\s*", block[found.end() :])[0])  # type: ignore[index]
        if rest := block[end:]:
            blocks.insert(0, rest)


class _Inline(InlineProcessor):
    """Formulas in a line of text."""

    def handleMatch(self, m: re.Match[str], data: str) -> tuple[str, int, int]:  # noqa: N802
        return self.md.htmlStash.store(mathml(m[1], "inline")), m.start(0), m.end(0)


class MathML(Extension):
    """`$$…$$` and `$…$`."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        md.parser.blockprocessors.register(_Displayed(md.parser), "displayed-mathml", 95)
        md.inlinePatterns.register(_Inline(r"(?<![\\$])\$(?=\S)([^$\n]+?)(?<=\S)\$(?![\d$])", md), "mathml", 185)

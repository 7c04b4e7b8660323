"""A manual page in mdoc(7) as its source has it: which options, commands, keys and examples it describes."""
import itertools
import re


class Page:
    """`sections`: {(heading of .Sh, heading of .Ss or ""): lines}."""

    def __init__(self, path):
        self.path = path
        self.sections, here = {}, ("", "")
        for line in path.read_text().splitlines():
            if line.startswith(".Sh "):
                here = (line[4:].strip('"'), "")
            elif line.startswith(".Ss "):
                here = (here[0], line[4:].strip('"'))
            else:
                self.sections.setdefault(here, []).append(line)

    def items(self, section):
        """The tags of the lists in a section, without `.It`."""
        return [line[4:] for line in self.sections.get(section, []) if line.startswith(".It ")]

    def literals(self):
        """The texts that are shown as they are."""
        text = self.path.read_text()
        blocks = re.findall(r"^\.Bd -literal.*\n((?:.*\n)*?)\.Ed$", text, re.MULTILINE)
        return [block.replace(r"\e", "\\") for block in blocks]


def options(tag):
    """The options in the tag of a list's item: {"-c", "--config"}."""
    words = tag.replace("|", " ").split()
    return {"-" + after for word, after in zip(words, words[1:]) if word == "Fl"}


def own_options(tag):
    """The same, if the item is about options and not about a command that has some."""
    return options(tag) if tag.startswith("Fl ") else set()


def command(tag):
    """The words of a command in the tag of an item about one, as a path: ("reset", "lun")."""
    words = tag.split()
    if words[:1] != ["Cm"]:
        return ()
    return tuple(itertools.takewhile(lambda word: word not in ("Ar", "Op", "Oo", "Fl", "Pq", "Po"), words[1:]))

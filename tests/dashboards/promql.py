"""Reads PromQL, and says which labels its result has. What can never be right is a Mistake: a metric or a label that
does not exist, a counter without rate(), a rate() of a gauge, two sides whose labels cannot match.

It knows what the rules and dashboards here use of the language, and refuses the rest."""
import dataclasses
import re

_TOKEN = re.compile(r"""
    (?P<space>\s+|\#[^\n]*)
  | (?P<duration>(?:\d+(?:ms|[smhdwy]))+)(?![\w.])
  | (?P<number>0x[0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.])
  | (?P<name>[A-Za-z_][\w:]*)
  | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`)
  | (?P<sign>==|!=|>=|<=|=~|!~|[-+*/%^<>=(){}\[\],:@])
""", re.VERBOSE)

# Binary operators, weakest first; comparisons filter, set operators work on whole series.
_SETS = ("or", "and", "unless")
_COMPARISONS = ("==", "!=", ">", "<", ">=", "<=")
_STRENGTH = {"or": 1, "and": 2, "unless": 2, **{sign: 3 for sign in _COMPARISONS}, "+": 4, "-": 4, "*": 5, "/": 5,
             "%": 5, "^": 7}
_UNARY = 6

_AGGREGATIONS = {"sum": 0, "min": 0, "max": 0, "avg": 0, "count": 0, "group": 0, "stddev": 0, "topk": 1, "bottomk": 1,
                 "quantile": 1}  # parameters before the vector
_KEEP_LABELS = ("topk", "bottomk")
# Functions: kinds of their arguments. v instant vector, r range vector, s scalar, t text.
_OVER_COUNTERS = ("rate", "irate", "increase", "resets")
_OVER_GAUGES = ("delta", "deriv", "idelta")
_FUNCTIONS = {**{name: "r" for name in _OVER_COUNTERS + _OVER_GAUGES},
              "changes": "r", "avg_over_time": "r", "min_over_time": "r", "max_over_time": "r", "sum_over_time": "r",
              "count_over_time": "r", "last_over_time": "r", "present_over_time": "r", "histogram_quantile": "sv",
              "abs": "v", "ceil": "v", "floor": "v", "round": "v", "sort": "v", "sort_desc": "v", "timestamp": "v",
              "clamp_min": "vs", "clamp_max": "vs", "time": "", "vector": "s", "scalar": "v", "absent": "v",
              "label_replace": "vtttt"}


class Mistake(Exception):
    pass


@dataclasses.dataclass
class Value:
    kind: str  # v, r, s or t, as above
    labels: frozenset = frozenset()
    counter: bool = False  # as it is scraped: only its growth means something
    gauge: bool = False  # as it is scraped
    equals: frozenset = frozenset()  # labels that a selector asks one value of
    text: str = ""


@dataclasses.dataclass(frozen=True)
class Token:
    kind: str
    text: str


def tokens(text):
    at, found = 0, []
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise Mistake(f"cannot be read from here: {text[at:at + 30]!r}")
        if match.lastgroup != "space":
            found.append(Token(match.lastgroup, match.group()))
        at = match.end()
    return found + [Token("end", "")]


class Names:
    """What queries may be about: the catalogue, up, and what recording rules make of them."""

    def __init__(self, catalogue, values):
        self._catalogue = catalogue
        self._values = values
        self.recorded = {}  # name: labels
        self.used = set()  # names that were looked up

    def lookup(self, name):
        """(labels, counter, gauge) of a series."""
        self.used.add(name)
        if name in self.recorded:
            return self.recorded[name], False, False
        if name == "up":
            return frozenset({"job", "instance"}), False, True
        found = self._catalogue.series(name)
        if found is None:
            raise Mistake(f"no metric {name}")
        metric, labels = found
        return labels, metric.kind != "gauge", metric.kind == "gauge"

    def check_matcher(self, name, label, operator, wanted):
        """A value that is asked for must be one that the label takes, where those are known."""
        if label == "le":
            if operator == "=" and wanted not in {f"{bound:g}" for bound in self._catalogue.buckets} | {"+Inf"}:
                raise Mistake(f"{name}: no bucket ends at {wanted}")
            return
        known = self._values.get((name, label)) or self._values.get(label)
        if known is None or "$" in wanted:
            return
        if operator in ("=", "!="):
            fits = wanted in known
        else:
            fits = any(re.fullmatch(wanted, value) for value in known)
            unused = [part for part in wanted.split("|") if re.fullmatch(r"\w+", part) and part not in known]
            fits = fits and not unused
        if not fits:
            raise Mistake(f'{name}: {label}{operator}"{wanted}" matches none of {", ".join(sorted(known))}')


def check(text, names):
    """The labels of the result of an expression, and the metrics in it; raises Mistake."""
    parser = _Parser(tokens(text), names)
    value = parser.expression(0)
    if parser.token.kind != "end":
        raise Mistake(f"{parser.token.text!r} was not expected")
    if value.kind not in ("v", "s"):
        raise Mistake("the result is a range or a text")
    parser.finished(value)
    return value.labels, parser.metrics


class _Parser:
    def __init__(self, found, names):
        self._tokens = found
        self._at = 0
        self._names = names
        self.metrics = set()

    @property
    def token(self):
        return self._tokens[self._at]

    def _take(self, text=None):
        token = self.token
        if text is not None and token.text != text:
            raise Mistake(f"{text!r} expected, not {token.text or 'the end'!r}")
        self._at += 1
        return token

    def _took(self, text):
        if self.token.text != text or self.token.kind == "string":
            return False
        self._at += 1
        return True

    def finished(self, value):
        """Nothing is going to be done to the value any more that would make sense of a counter."""
        if value.counter and value.kind == "v":
            raise Mistake("a counter is used as it is: rate(), increase() or changes() of it says something")
        return value

    def expression(self, strength):
        if self.token.text in ("-", "+"):
            self._take()
            left = self.expression(_UNARY)
        else:
            left = self._postfix(self._primary())
        while self.token.kind in ("sign", "name") and _STRENGTH.get(self.token.text, 0) > strength:
            operator = self._take().text
            as_bool = self._took("bool")
            matching = self._matching()
            # ^ binds to the right, everything else to the left.
            right = self.expression(_STRENGTH[operator] - (operator == "^"))
            left = self._binary(operator, as_bool, matching, self.finished(left), self.finished(right))
        return left

    def _matching(self):
        word = self.token.text
        if word not in ("on", "ignoring"):
            return None
        self._take()
        matching = {"word": word, "labels": self._label_list(), "group": None}
        if self.token.text in ("group_left", "group_right"):
            matching["group"] = self._take().text
            matching["extra"] = self._label_list() if self.token.text == "(" else frozenset()
        return matching

    def _binary(self, operator, as_bool, matching, left, right):
        if as_bool and operator not in _COMPARISONS:
            raise Mistake(f"bool after {operator}")
        if not {left.kind, right.kind} <= {"v", "s"}:
            raise Mistake(f"{operator} with a range or a text")
        if "s" in (left.kind, right.kind):
            if operator in _SETS or matching:
                raise Mistake(f"{operator} of a number with a vector")
            return Value("s") if left.kind == right.kind else Value("v", left.labels | right.labels)
        one, other = left.labels, right.labels
        if matching:
            self._known(matching["labels"], one, "the left side")
            self._known(matching["labels"], other, "the right side")
            if matching["word"] == "on":
                one_key, other_key = matching["labels"], matching["labels"]
            else:
                one_key, other_key = one - matching["labels"], other - matching["labels"]
        else:
            one_key, other_key = one, other
        if one_key != other_key and operator != "or":
            raise Mistake(f"{operator}: the sides can never match, one has {_words(one_key)}, "
                          f"the other {_words(other_key)}")
        if operator == "or":
            if one != other:
                raise Mistake(f"or: one side has {_words(one)}, the other {_words(other)}")
            return Value("v", one)
        if operator in _SETS:
            return Value("v", one)
        if matching and matching["group"]:
            many, single = (one, other) if matching["group"] == "group_left" else (other, one)
            self._known(matching["extra"], single, "the side of one")
            return Value("v", many | matching["extra"])
        # On one-to-one matching the result has the labels that were matched by.
        return Value("v", one_key)

    @staticmethod
    def _known(labels, available, where):
        missing = labels - available
        if missing:
            raise Mistake(f"{where} has no label {_words(missing)}, only {_words(available)}")

    def _primary(self):
        token = self._take()
        if token.kind == "number":
            return Value("s")
        if token.kind == "string":
            return Value("t", text=token.text[1:-1])
        if token.text == "(" and token.kind == "sign":
            value = self.expression(0)
            self._take(")")
            return value
        if token.kind != "name":
            raise Mistake(f"{token.text or 'the end'!r} was not expected")
        if token.text in _AGGREGATIONS and self.token.text in ("(", "by", "without"):
            return self._aggregation(token.text)
        if self.token.text == "(":
            return self._call(token.text)
        return self._selector(token.text)

    def _selector(self, name):
        labels, counter, gauge = self._names.lookup(name)
        self.metrics.add(name)
        equals = set()
        if self._took("{"):
            while not self._took("}"):
                label = self._take()
                if label.kind != "name":
                    raise Mistake(f"{name}: {label.text!r} is no label")
                operator = self._take().text
                if operator not in ("=", "!=", "=~", "!~"):
                    raise Mistake(f"{name}: {operator!r} after {label.text}")
                wanted = self._take()
                if wanted.kind != "string":
                    raise Mistake(f"{name}: {label.text} wants a string")
                if label.text not in labels:
                    raise Mistake(f"{name} has no label {label.text}, only {_words(labels)}")
                self._names.check_matcher(name, label.text, operator, wanted.text[1:-1])
                if operator == "=":
                    equals.add(label.text)
                if not self._took(",") and self.token.text != "}":
                    raise Mistake(f"{name}: ',' or '}}' expected, not {self.token.text!r}")
        return Value("v", labels, counter, gauge, frozenset(equals))

    def _postfix(self, value):
        """[range], [range:step], offset."""
        while True:
            if self._took("["):
                self._duration()
                if self._took(":") and self.token.text != "]":
                    self._duration()
                self._take("]")
                if value.kind != "v":
                    raise Mistake("a range of what is no vector")
                value = dataclasses.replace(value, kind="r")
            elif self._took("offset"):
                self._duration()
            else:
                return value

    def _duration(self):
        if self._take().kind != "duration":
            raise Mistake("a duration expected")

    def _label_list(self):
        self._take("(")
        labels = set()
        while not self._took(")"):
            label = self._take()
            if label.kind != "name":
                raise Mistake(f"{label.text!r} is no label")
            labels.add(label.text)
            if not self._took(",") and self.token.text != ")":
                raise Mistake(f"',' or ')' expected, not {self.token.text!r}")
        return frozenset(labels)

    def _aggregation(self, name):
        grouping = self._grouping()
        self._take("(")
        for _ in range(_AGGREGATIONS[name]):
            if self.expression(0).kind != "s":
                raise Mistake(f"{name}() wants a number first")
            self._take(",")
        value = self.finished(self.expression(0))
        self._take(")")
        grouping = grouping or self._grouping()
        if value.kind != "v":
            raise Mistake(f"{name}() wants a vector")
        word, labels = grouping or ("by", frozenset())
        self._known(labels, value.labels, f"what {name}() is of")
        if name in _KEEP_LABELS:
            return Value("v", value.labels)
        return Value("v", labels if word == "by" else value.labels - labels)

    def _grouping(self):
        if self.token.text not in ("by", "without"):
            return None
        return self._take().text, self._label_list()

    def _call(self, name):
        wanted = _FUNCTIONS.get(name)
        if wanted is None:
            raise Mistake(f"{name}() is not known here")
        self._take("(")
        arguments = []
        while not self._took(")"):
            arguments.append(self.expression(0))
            if not self._took(",") and self.token.text != ")":
                raise Mistake(f"{name}(): ',' or ')' expected, not {self.token.text!r}")
        if "".join(argument.kind for argument in arguments) != wanted:
            raise Mistake(f"{name}() does not take this")
        return self._result(name, arguments)

    def _result(self, name, arguments):
        if name in ("time", "scalar"):
            return Value("s")
        if name == "vector":
            return Value("v")
        value = arguments[-1] if name == "histogram_quantile" else arguments[0]
        if name in _OVER_COUNTERS and value.gauge:
            raise Mistake(f"{name}() of a gauge")
        if value.counter and name not in _OVER_COUNTERS + ("changes", "absent", "timestamp", "present_over_time"):
            raise Mistake(f"{name}() of a counter")
        if name == "absent":
            return Value("v", value.equals)
        if name == "label_replace":
            made, used = arguments[1].text, arguments[3].text
            self._known(frozenset({used} - {""}), value.labels, "what label_replace() is of")
            return Value("v", value.labels | {made})
        if name == "histogram_quantile":
            self._known(frozenset({"le"}), value.labels, "what histogram_quantile() is of")
            return Value("v", value.labels - {"le"})
        return Value("v", value.labels)


def _words(labels):
    return ", ".join(sorted(labels)) or "none"

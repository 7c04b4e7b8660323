"""gateway/admin/openapi.yaml as a test uses it: its operations, its examples, and what may be answered."""
import copy
import pathlib
import re
import urllib.parse

import jsonschema
import yaml

PATH = pathlib.Path(__file__).resolve().parents[2] / "gateway/admin/openapi.yaml"
METHODS = ("get", "post")
# What jsonschema checks only with packages that Debian does not have.
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


class Contract:
    def __init__(self):
        self.document = yaml.safe_load(PATH.read_text())
        self._formats = jsonschema.FormatChecker(formats=())
        self._formats.checks("date-time")(lambda value: not isinstance(value, str) or bool(_TIME.fullmatch(value)))

    def resolve(self, item):
        """What a $ref stands for, or the item itself."""
        while isinstance(item, dict) and "$ref" in item:
            part = self.document
            for name in item["$ref"].removeprefix("#/").split("/"):
                part = part[name.replace("~1", "/").replace("~0", "~")]
            item = part
        return item

    def validate(self, value, schema):
        """An error of jsonschema if the value is not of this schema."""
        whole = {**copy.copy(schema), "components": self.document["components"]}
        jsonschema.Draft202012Validator(whole, format_checker=self._formats).validate(value)

    def schema(self, name):
        return self.document["components"]["schemas"][name]

    def operations(self):
        for path, item in self.document["paths"].items():
            for method in METHODS:
                if method in item:
                    yield Operation(self, path, method, item)

    def operation(self, name):
        return next(each for each in self.operations() if each.name == name)


class Operation:
    """A path with its method."""

    def __init__(self, contract, path, method, item):
        self.contract = contract
        self.path = path
        self.method = method.upper()
        self.item = item[method]
        self.name = self.item["operationId"]
        self.parameters = [contract.resolve(each) for each in item.get("parameters", []) + self.item.get("parameters", [])]

    def __repr__(self):
        return f"{self.method} {self.path}"

    def target(self, **values):
        """Path and query with the examples of the document, or with what is given instead."""
        path, query = self.path, []
        for each in self.parameters:
            value = urllib.parse.quote(str(values.get(each["name"], each["example"])), safe="")
            if each["in"] == "path":
                path = path.replace("{" + each["name"] + "}", value)
            else:
                query.append(f"{each['name']}={value}")
        return path + ("?" + "&".join(query) if query else "")

    def bodies(self):
        """[(name, example)] of the request, as they are in the document; one without a body for a GET."""
        body = self.contract.resolve(self.item.get("requestBody"))
        if body is None:
            return [("", None)]
        return [(name, each["value"]) for name, each in body["content"]["application/json"]["examples"].items()]

    def body_schema(self):
        body = self.contract.resolve(self.item.get("requestBody"))
        return body and body["content"]["application/json"]["schema"]

    def statuses(self):
        return {int(status) for status in self.item["responses"]}

    def contents(self, status):
        """{content type: schema and examples} of an answer."""
        return self.contract.resolve(self.item["responses"][str(status)]).get("content", {})

    def check(self, answer):
        """The body of an answer, which is one that the document has; AssertionError or an error of jsonschema if not."""
        where = f"{self}: {answer.status} {answer.body[:300]}"
        assert answer.status in self.statuses(), f"not documented: {where}"
        contents = self.contents(answer.status)
        if not contents:
            assert answer.body == "", f"a body that is not documented: {where}"
            return None
        kind = answer.fields["content-type"].partition(";")[0]
        assert kind in contents, f"of type {kind}: {where}"
        for name in self.contract.resolve(self.item["responses"][str(answer.status)]).get("headers", {}):
            assert name.lower() in answer.fields, f"without {name}: {where}"
        value = answer.json() if kind.endswith("json") else answer.body
        self.contract.validate(value, contents[kind]["schema"])
        return value

#!/usr/bin/python3
"""Writes nbdgw/values.schema.json: values.schema.in.json, with the schema of the gateway's own configuration
(config/nbdgw.schema.json) in the place of `config`. tests/deploy checks that it is up to date."""
import json
import pathlib

HERE = pathlib.Path(__file__).resolve().parent
CONFIG = HERE.parents[1] / "config" / "nbdgw.schema.json"
OF_THE_CHART = ("listen", "admin")


def moved(value):
    """helm knows draft-07: definitions have another name there."""
    if isinstance(value, dict):
        return {key: each.replace("#/$defs/", "#/definitions/config_") if key == "$ref" else moved(each)
                for key, each in value.items()}
    return [moved(each) for each in value] if isinstance(value, list) else value


def text():
    """What values.schema.json shall be."""
    schema = json.loads((HERE / "values.schema.in.json").read_text())
    config = json.loads(CONFIG.read_text())
    properties = {key: moved(each) for key, each in config["properties"].items() if key not in OF_THE_CHART}
    schema["properties"]["config"] = {
        "description": "nbdgw.yaml without listen and admin, which are the chart's. In the daemonset form the node's name "
                       "is appended to initiator.name.",
        "type": "object",
        "additionalProperties": False,
        "required": [key for key in config["required"] if key not in OF_THE_CHART],
        "properties": properties,
    }
    used = json.dumps(properties)
    for key, each in config["$defs"].items():
        if f"config_{key}\"" in used:
            schema["definitions"]["config_" + key] = moved(each)
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    (HERE / "nbdgw" / "values.schema.json").write_text(text())

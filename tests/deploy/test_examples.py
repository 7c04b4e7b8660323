"""Every example of a configuration is a good one."""
import json
import shutil
import unittest

import jsonschema
import yaml

import example_files
import program
from lib import servers, workdir

# What an example may be warned of, as it says itself.
WARNINGS = {"kubernetes-sidecar.yaml": ["the token goes over the network in the clear"]}


class Examples(unittest.TestCase):
    def test_there_are_some(self):
        self.assertGreaterEqual(len(example_files.everything()), 6)
        names = [path.name for path in example_files.everything()]
        self.assertEqual(len(names), len(set(names)), "all are installed into one folder")

    def test_check(self):
        for path in example_files.everything():
            with self.subTest(path.name):
                config = workdir.fresh("example") / path.name
                shutil.copy(path, config)
                example_files.provide(config)
                done = program.run("check", "-c", config)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIn(": good\n", done.stdout)
                warnings, allowed = done.stderr.splitlines(), WARNINGS.get(path.name, [])
                self.assertEqual(len(warnings), len(allowed), done.stderr)
                for warning, text in zip(warnings, allowed):
                    self.assertIn(text, warning)

    def test_the_secrets_are_needed(self):
        """So that the test above does not pass for a reason that is none."""
        config = workdir.fresh("example") / "chap-digests.yaml"
        shutil.copy(servers.ROOT / "deploy/examples" / config.name, config)
        done = program.run("check", "-c", config)
        self.assertEqual((done.returncode, done.stderr.count("array.secret: No such file"),
                          done.stderr.count("array-mutual.secret: No such file")), (2, 1, 1), done.stderr)

    def test_schema(self):
        schema = json.loads((servers.ROOT / "config/nbdgw.schema.json").read_text())
        for path in example_files.everything():
            with self.subTest(path.name):
                jsonschema.validate(yaml.safe_load(path.read_text()), schema)

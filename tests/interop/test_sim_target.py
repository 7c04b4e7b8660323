"""The simulator's model of a target (tests/sim/target) before an initiator that we did not write: libiscsi's tests, so that
it is not wrong in our favour."""
import os
import pathlib
import re
import subprocess

from base import InteropCase, gateway_only
from lib import process, workdir

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(os.environ.get("NBDGW_SIM_TARGET", ROOT / "build/release/nbdgw-sim-target"))
IQN = "iqn.2026-11.io.nbdgw:array"
FAMILY_TIMEOUT_S = 120

# What the gateway sends or could send, and what it should be refused.
FAMILIES = ["TestUnitReady", "Inquiry", "ReadCapacity10", "ReadCapacity16", "ModeSense6", "Mandatory", "ReadOnly", "Read6",
            "Read10", "Read12", "Read16", "Write10", "Write12", "Write16", "WriteSame10", "WriteSame16", "Unmap",
            "CompareAndWrite", "iSCSIcmdsn", "iSCSIdatasn", "iSCSIResiduals", "iSCSITMF"]

# The tests that come to something else than "passed", and why; one that ends in a dot or a star: all that begin so.
SKIPPED = {
    "Read6.": "the model has no READ(6): the gateway does not send it",
    "Read12.": "nor READ(12)",
    "Write12.": "nor WRITE(12)",
    "CompareAndWrite.": "nor COMPARE AND WRITE",
    "iSCSIResiduals.Read12Residuals": "nor READ(12)",
    "iSCSIResiduals.Write12Residuals": "nor WRITE(12)",
    "iSCSIResiduals.WriteVerify*": "nor WRITE AND VERIFY",
    "ReadOnly.": "the LUN can be written",
    "WriteSame10.UnmapUnaligned": "a physical block is a logical block",
    "WriteSame16.UnmapUnaligned": "a physical block is a logical block",
    "WriteSame10.InvalidDataOutSize": "a physical block is a logical block",
    "WriteSame16.InvalidDataOutSize": "a physical block is a logical block",
}
FAILS = {
    "WriteSame10.UnmapUntilEnd": "sends blocks of FFh and wants zeroes; with UNMAP and LBPRZ the data counts (SBC-4 5.50)",
    "ModeSense6.Control": "the model has the caching page alone; the gateway asks for no other",
    "ModeSense6.Control-SWP": "the same",
    "iSCSIdatasn.iSCSIDataSnInvalid": "wants to send no immediate data, but a login of its own agrees on it again meanwhile",
}
# With habits drawn from these seeds more is skipped, or passes, and this may fail.
DRAWN = range(1, 5)
MAY_FAIL = {"iSCSITMF.AbortTaskSimpleAsync": "wants its WRITE to be one PDU in its queue; to some targets it sends several"}
# Said within a test that looks at something else.
BESIDE_THE_POINT = ("[SKIPPED] REPORT_SUPPORTED_OPCODES is not implemented.",
                    "[SKIPPED] PERSISTENT RESERVE IN is not implemented.")

TEST = re.compile(r"^  Test: (\S+) \.\.\.", re.MULTILINE)


def is_listed(name, names):
    return any(name.startswith(each.rstrip("*")) if each[-1] in ".*" else name == each for each in names)


def outcomes(text, family):
    """{"Family.Test": ("passed", "failed" or "skipped", what it said)}: libiscsi counts those that it skips as passed."""
    for line in BESIDE_THE_POINT:
        text = text.replace(line, "")
    found = {}
    starts = [(match.group(1), match.end()) for match in TEST.finditer(text)]
    for (name, begin), (_, end) in zip(starts, [*starts[1:], ("", text.find("Run Summary:"))]):
        part = text[begin:end]
        said = re.search(r"(?:^|\.\.\.)(passed|FAILED)", part, re.MULTILINE)
        if said is None:
            word = "failed"  # it has not come to its end
        elif said.group(1) == "FAILED":
            word = "failed"
        else:
            word = "skipped" if "[SKIPPED]" in part[:said.start()] else "passed"
        found[f"{family}.{name}"] = word, part[:1000]
    return found


@gateway_only
class SimulatedTarget(InteropCase):
    def start(self, *arguments):
        directory = workdir.fresh("sim-target")
        target = process.Child("sim-target", [PROGRAM, *arguments], directory=directory).start()
        self.addCleanup(target.kill)
        target.wait_log("port ")
        self.url = f"iscsi://127.0.0.1:{target.log().split()[1]}/{IQN}/0"
        return target

    def judge(self, family):
        done = subprocess.run(["iscsi-test-cu", "--dataloss", "--verbose", "--test", f"ALL.{family}", self.url],
                              capture_output=True, text=True, errors="replace", timeout=FAMILY_TIMEOUT_S)
        text = done.stdout + done.stderr
        found = outcomes(text, family)
        self.assertTrue(found, f"{family}: no test\n{text[-3000:]}")
        return found

    def judge_all(self, what, is_allowed):
        """All families; complains about those that come to something else than the lists say."""
        count = {"passed": 0, "failed": 0, "skipped": 0}
        wrong = []
        for family in FAMILIES:
            for name, (word, said) in self.judge(family).items():
                count[word] += 1
                wanted = "failed" if is_listed(name, FAILS) else "skipped" if is_listed(name, SKIPPED) else "passed"
                if word != wanted and not is_allowed(name, word, wanted):
                    wrong.append(f"{name}: {word}, and not {wanted}{said}")
        print(f"libiscsi's tests of the simulated target ({what}): {count['passed']} passed, {count['failed']} failed, "
              f"{count['skipped']} skipped", flush=True)
        if wrong:
            self.fail("\n".join(wrong))

    def test_plain(self):
        target = self.start()
        self.judge_all("plain", lambda *_: False)
        target.stop()

    def test_drawn(self):
        """Targets with habits as the world draws them."""
        for seed in DRAWN:
            target = self.start(seed)
            self.judge_all(f"seed {seed}", lambda name, word, wanted: word != "failed" or name in MAY_FAIL)
            target.stop()

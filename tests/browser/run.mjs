// One scenario of the console in a browser: node run.mjs SCENARIO '{"url":...,"directory":...}'. Exit status 1 and the
// reason on stderr if anything is wrong. tests/interop/test_console.py starts what it needs. NBDGW_NPM: the folder with
// the npm packages.
import { Console } from "./harness.mjs";

const [scenario, options] = [process.argv[2], JSON.parse(process.argv[3])];
const { settings, default: run } = await import(`./${scenario}.mjs`);
let console_;
try {
  console_ = await Console.open(options, settings);
  await run(console_, options);
  await console_.close();
} catch (error) {
  process.stderr.write(`${error.stack}\n${(console_?.wrong ?? []).join("\n")}\n`);
  await console_?.picture(`failed-${scenario}`).then((file) => process.stderr.write(`${file}\n`)).catch(() => {});
  await console_?.context.close().catch(() => {});
  process.exitCode = 1;
}

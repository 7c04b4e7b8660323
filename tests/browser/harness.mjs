// A browser with the console in it, and what every scenario asks of it: no error on the browser's console, nothing that
// the Content-Security-Policy had to stop, no request to anyone but the gateway.
import { createRequire } from "node:module";
import fs from "node:fs";
import path from "node:path";

const { chromium } = createRequire(path.join(process.env.NBDGW_NPM, "package.json"))("playwright-core");

const ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync"];
export const PATIENCE_MS = 20000;

export function check(condition, what) {
  if (!condition) throw new Error(what);
}

/** Asks again and again until the answer is true; the answer. */
export async function eventually(what, ask, patience = PATIENCE_MS) {
  const end = Date.now() + patience;
  let last;
  for (;;) {
    try {
      last = await ask();
      if (last) return last;
    } catch (error) {
      last = error.message;
    }
    check(Date.now() < end, `not within ${patience / 1000} s: ${what}; last: ${JSON.stringify(last)}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

export class Console {
  /** `options`: url, directory (for profile and pictures), and what a scenario needs beside. `expected`: what the
   *  browser's console may say, for a scenario in which something fails. */
  static async open(options, { expected = [], viewport = { width: 1280, height: 900 }, before } = {}) {
    const self = new Console();
    self.options = options;
    self.expected = expected;
    self.wrong = [];
    self.origin = new URL(options.url).origin;
    self.context = await chromium.launchPersistentContext(fs.mkdtempSync(path.join(options.directory, "profile-")), {
      executablePath: "/usr/bin/chromium", headless: true, args: ARGUMENTS, viewport, colorScheme: "light",
    });
    self.context.on("request", (request) => {
      const url = new URL(request.url());
      if (url.protocol !== "data:" && url.origin !== self.origin) self.wrong.push(`a request to ${request.url()}`);
    });
    await self.context.exposeBinding("tellViolation", (_, text) => self.wrong.push(`stopped by the policy: ${text}`));
    await self.context.addInitScript(() => document.addEventListener("securitypolicyviolation",
      (event) => window.tellViolation(`${event.effectiveDirective} ${event.blockedURI} ${event.sample}`)));
    self.page = self.context.pages()[0];
    self.page.setDefaultTimeout(PATIENCE_MS);
    self.page.on("pageerror", (error) => self.wrong.push(`an error in the page: ${error.stack}`));
    self.page.on("console", (message) => {
      if (message.type() !== "error" && message.type() !== "warning") return;
      if (!self.expected.some((pattern) => pattern.test(message.text()))) self.wrong.push(`said on the browser's console: ${message.text()}`);
    });
    if (before) await before(self);
    const answer = await self.page.goto(options.url);
    check(answer.status() === 200, `the page: ${answer.status()}`);
    self.policy = answer.headers()["content-security-policy"];
    check(/default-src 'none'/.test(self.policy ?? ""), `the page's policy: ${self.policy}`);
    return self;
  }

  /** The numbers are there. */
  async live() {
    await this.page.locator("#link", { hasText: /^Live, / }).waitFor();
    await eventually("the first numbers", () => this.page.locator("main").getAttribute("aria-busy").then((busy) => busy === "false"));
  }

  /** An answer of the API, asked for beside the page. */
  async api(path) {
    const answer = await fetch(this.origin + path);
    check(answer.ok, `${path}: ${answer.status}`);
    return answer.json();
  }

  text(selector) {
    return this.page.locator(selector).first().innerText();
  }

  /** An export's row: `part` is a cell's label. */
  cell(name, part) {
    const row = this.page.locator("#export-table tr.main").filter({ has: this.page.getByText(name, { exact: true }) });
    return row.locator(`[data-label="${part}"]`);
  }

  async picture(name) {
    const file = path.join(this.options.directory, `${name}.png`);
    await this.page.screenshot({ path: file });
    return file;
  }

  async close() {
    await this.context.close();
    check(this.wrong.length === 0, this.wrong.join("\n"));
  }
}

/** The number that the page shows: "12.4 k", "3.20 MiB/s", "850 µs". */
export function number(text) {
  const found = /^([0-9.]+)\s*(.*)$/.exec(text.trim());
  check(found, `no number: ${JSON.stringify(text)}`);
  const units = { "": 1, k: 1e3, M: 1e6, "B/s": 1, "KiB/s": 1024, "MiB/s": 1048576, "GiB/s": 1073741824, "\u00b5s": 1e-6, ms: 1e-3, s: 1 };
  check(found[2] in units, `an unknown unit: ${text}`);
  return Number(found[1]) * units[found[2]];
}

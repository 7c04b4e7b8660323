// Numbers under a load of a known rate: they change, they are those of the API, and nothing on the page moves for it.
import { check, eventually, number } from "./harness.mjs";

const UPDATES = 6;

const sum = (one) => one.counters.reads + one.counters.writes;

async function boxes(page) {
  return page.evaluate(() => [...document.querySelectorAll("section, #export-table tr.main > *, .session .body > div, .plot, button")]
    .filter((each) => each.offsetParent).map((each) => {
      const { x, y, width, height } = each.getBoundingClientRect();
      return [each.id || each.dataset.label || each.tagName, x, y, width, height].join(" ");
    }));
}

export default async function live(console_, { rate, name }) {
  const { page } = console_;
  await console_.live();
  const iops = console_.cell(name, "Requests per second").locator("dd");
  const shown = async () => {
    const [reads, writes] = await iops.allInnerTexts();
    return number(reads) + number(writes);
  };
  await eventually("requests on the page", async () => (await shown()) > 0.5 * rate);

  // Every update, as it comes.
  const button = console_.cell(name, "New clients").locator("button", { hasText: "drain" });
  await button.focus();
  await page.evaluate(() => getSelection().selectAllChildren(document.querySelector("#export-table tr.main .who [data-f=name]")));
  const place = await boxes(page);
  const before = { at: Date.now(), done: sum(await console_.api(`/v1/exports/${name}`)) };
  const values = [];
  const beat = () => page.locator("#export-table tr.main path.line").evaluateAll((lines) => lines.map((line) => line.getAttribute("d")).join());
  let drawn = await beat();
  while (values.length < UPDATES) {
    const last = drawn;
    await eventually("an update", async () => (drawn = await beat()) !== last);
    values.push(await shown());
  }
  const after = { at: Date.now(), done: sum(await console_.api(`/v1/exports/${name}`)) };

  check(values.every((value) => value > 0), `requests per second: ${values}`);
  check(new Set(values).size > 1, `requests per second never changed: ${values}`);
  const told = ((after.done - before.done) * 1000) / (after.at - before.at);
  const mean = values.reduce((all, one) => all + one, 0) / values.length;
  check(mean > 0.7 * told && mean < 1.3 * told, `the page says ${mean} requests per second, the API's counters ${told}`);
  const moved = (await boxes(page)).filter((box, i) => box !== place[i]);
  check(moved.length === 0, `moved by updates: ${moved.slice(0, 5).join("; ")}`);
  check(await button.evaluate((node) => node === document.activeElement), "an update took the focus away");
  check((await page.evaluate(() => getSelection().toString())) === name, "an update took the selection away");

  const [latency] = await console_.cell(name, "Latency, mean").locator("dd").allInnerTexts();
  check(number(latency) > 0 && number(latency) < 10, `latency: ${latency}`);
  const [read, written] = await console_.cell(name, "Throughput").locator("dd").allInnerTexts();
  check(number(read) > 0 && number(written) > 0, `throughput: ${read}, ${written}`);

  // The plots: a line with a point for every sample, numbers at the axes, units in the legends.
  check(await page.locator("#export-table figure.plot").count() === 4, "four plots");
  for (const [title, unit] of [["Requests per second", /^(0|[0-9.]+( k)?)$/], ["Throughput", /^(0|[0-9.]+ [KM]?i?B\/s)$/], ["Latency, mean", /^(0|[0-9.]+ (\u00b5s|ms|s))$/], ["Requests in flight", /^[0-9.]+$/]]) {
    const plot = page.locator("figure.plot").filter({ has: page.getByText(title, { exact: true }) });
    const line = await plot.locator("path.line").first().getAttribute("d");
    check((line.match(/[ML]/g) ?? []).length >= UPDATES, `${title}: a line of ${line}`);
    const labels = (await plot.locator("svg text").allTextContents()).filter((label) => label && !/now|\u2212/.test(label));
    check(labels.length >= 2 && labels.every((label) => unit.test(label)), `${title}: its axis says ${labels}`);
    check(/^read|^in flight/.test(await plot.locator(".legend").first().innerText()), `${title}: its legend`);
  }
  await page.locator("#export-filter").fill("no such export");
  await eventually("the filter", async () => (await page.locator("#export-table tr.main").count()) === 0);
  await page.locator("#export-filter").fill("");
  await eventually("the filter undone", async () => (await page.locator("#export-table tr.main").count()) > 0);

  // What else is alive: connections and clients.
  await eventually("bytes on a connection", async () => number(await page.locator('[data-f="connections"] [data-label="Sent"]').first().innerText()) > 0);
  await eventually("a client's requests", async () => number(await page.locator('#client-rows [data-label="Requests/s"]').first().innerText()) > 0);
  check((await page.locator('[data-f="connections"] > tr').count()) === 4, "the session's four connections");
}

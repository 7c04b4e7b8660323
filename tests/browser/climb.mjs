// A write hangs, and so does its abort: the ladder is seen climbing, rung by rung, as the API tells it.
import { check, eventually } from "./harness.mjs";

export default async function climb(console_, { control, name }) {
  const { page } = console_;
  await console_.live();
  check((await page.locator(".ladder li[aria-current]").count()) === 0, "nothing climbs yet");
  const fault = async (body) => check((await fetch(`${control}/v1/faults`, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) })).ok, "the target takes the fault");
  const seen = new Map();  // what of the ladder was lit, and what the API said meanwhile
  await fault({ fault: "hang_tmf", function: 1, count: 1 });
  await fault({ fault: "hang_task", opcode: "write", count: 1 });
  await eventually("the whole climb", async () => {
    // In one look: between finding the rungs and asking what they say, the page may have gone on.
    const lit = await page.evaluate(() => [...document.querySelectorAll(".ladder li[aria-current=step]")].map((rung) => ({
      name: rung.querySelector(".rung").textContent, said: rung.querySelector(".last").innerText,
      colour: getComputedStyle(rung.querySelector(".rung")).color, text: rung.closest(".session").querySelector(".climb-text").innerText })));
    check(lit.length <= 1, `one rung at a time, not ${lit.map((rung) => rung.name)}`);
    if (lit.length === 1) {
      const { climb: now } = (await console_.api("/v1/sessions/array"));
      seen.set(lit[0].name, [...(seen.get(lit[0].name) ?? []), { ...lit[0], now }]);
    }
    return /Logged in again/.test(await page.locator("#event-rows").innerText());
  }, 30000);

  const abort = seen.get("ABORT TASK") ?? [];
  check(abort.length > 0, `the rung of ABORT TASK was never lit; lit were ${[...seen.keys()]}`);
  check(abort.some(({ now }) => now?.rung === "abort_task" && now.scope === "task" && !now.by_hand), `the API did not say so: ${JSON.stringify(abort)}`);
  check(abort.every(({ said }) => /climbing/.test(said)), `what the rung says: ${JSON.stringify(abort.map(({ said }) => said))}`);
  check(abort.some(({ text }) => /^Climbing now, by itself: ABORT TASK/.test(text)), `the text under the ladder: ${abort[0].text}`);
  const calm = await page.locator(".ladder li:not([aria-current]) .rung").first().evaluate((node) => getComputedStyle(node).color);
  check(abort[0].colour !== calm, "a rung that climbs looks like all others");

  // Newest first, with outcomes; and the ladder remembers.
  await eventually("the ladder calm again", async () => (await page.locator(".ladder li[aria-current]").count()) === 0);
  const rows = await page.locator("#event-rows > tr").evaluateAll((rows) => rows.map((row) => ["What", "Outcome"].map((label) => row.querySelector(`[data-label="${label}"]`).innerText).join(": ")));
  const events = rows.filter((row) => /: (success|timed out)$/.test(row));  // what rungs came to; the states are between them
  const wanted = ["LOGICAL UNIT RESET: success", "Logged in again: success", "SESSION RESET: success", "ABORT TASK: timed out", "Deadline: success"];
  check(JSON.stringify(events.slice(0, 5)) === JSON.stringify(wanted), `events: ${events}`);
  const between = ["Session back: up", "Session lost: down", "Online: up", "Offline: down", "ABORT TASK: now"];
  check(between.every((row) => rows.includes(row)), `states and what was under way: ${rows}`);
  const told = (await console_.api("/v1/events?since=0")).events.length;
  check((await page.locator("#event-rows > tr").count()) === told, `the API has ${told} events`);
  await page.locator("#event-outcome").selectOption("trouble");
  await eventually("only what went wrong", async () => {
    const left = await page.locator('#event-rows [data-label="Outcome"]').allInnerTexts();
    return left.includes("timed out") && !left.includes("success") && !left.includes("up");
  });
  await page.locator("#event-outcome").selectOption("");
  const ladder = await page.locator(".ladder li").evaluateAll((rungs) => rungs.map((rung) => `${rung.querySelector(".rung").textContent}: ${rung.querySelector("[data-f=outcome]").textContent.trim()} ${rung.className}`));
  check(ladder.includes("ABORT TASK: timed out bad") && ladder.includes("SESSION RESET: success good"), `the ladder: ${ladder}`);
  check(/ABORT TASK/.test(await page.locator("#said").textContent()), "nothing was said for those who hear the page");
  await eventually(`${name} online again`, async () => /^online/.test(await console_.cell(name, "State").innerText()));
}

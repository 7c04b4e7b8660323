// A target that was never there (or, `lost`, one that refuses every login after a loss): what the console says is true.
import { check, eventually } from "./harness.mjs";

export default async function absent(console_, { name, lost }) {
  const { page } = console_;
  await console_.live();
  const session = page.locator(".session").first();
  const badge = () => session.locator("[data-f=climb]").innerText();
  const shown = lost ? /^Logging in again, session$/ : /^no session for [0-9.]+ s$/;
  await eventually("no session", async () => shown.test(await badge()));
  // It grows, whatever is tried.
  const fact = session.locator("dl.facts div", { hasText: "Not logged in for" });
  let before = -1;
  for (let look = 0; look < 5; ++look) {
    await new Promise((done) => setTimeout(done, 1100));
    const now = Number(/([0-9.]+) s/.exec(await fact.innerText())?.[1] ?? NaN);
    check(now > before, `"Not logged in for" went from ${before} to ${now} s`);
    before = now;
    const all = await page.locator("main").innerText();
    check(!/the session is back|Logged in again|calm|Nothing has happened/i.test(all), `untrue: ${all}`);
  }
  const text = await session.locator(".climb-text").innerText();
  check(lost ? /^Climbing now, by itself: Logging in again, session/.test(text) : /^There has been no session for/.test(text), `the text under the ladder: ${text}`);
  check(/for [0-9.]+ s/.test(await console_.cell(name, "State").innerText()), "since when the export is not there");
  await eventually("an event", async () => /Login fails/.test(await page.locator("#event-rows").innerText()));
  if (lost) check(/Session lost/.test(await page.locator("#event-rows").innerText()), "the event of the loss");
}

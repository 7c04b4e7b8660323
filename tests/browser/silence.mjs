// The gateway does not answer for a while: the page says so, asks less and less often, and goes on when it is back.
import { check, eventually } from "./harness.mjs";

export const settings = { expected: [/ERR_CONNECTION_REFUSED/] };

export default async function silence(console_) {
  const { page } = console_;
  await console_.live();
  const asked = [];
  await page.route("**/v1/status", (route) => {
    asked.push(Date.now());
    return route.abort("connectionrefused");
  });
  await eventually("said plainly", async () => /^The gateway does not answer: it cannot be reached; .* What is shown is from \d/.test(await page.locator("#link").innerText()));
  check((await page.locator("#ready").innerText()) === "no answer", "the badge");
  await eventually("four tries", () => asked.length >= 4);
  const pauses = asked.slice(1).map((at, i) => at - asked[i]);
  check(pauses[2] > 2 * pauses[0], `it does not back off: ${pauses}`);
  check((await page.locator("#export-table tr.main").count()) > 0, "what was known is still shown");
  await page.unroute("**/v1/status");
  await page.getByRole("button", { name: "Try now" }).click();
  await console_.live();
  check(!(await page.getByRole("button", { name: "Try now" }).isVisible()), "the button is gone");
  check(/answers again/.test(await page.locator("#said").textContent()), "said for those who hear the page");
}

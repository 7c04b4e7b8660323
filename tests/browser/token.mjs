// A gateway with a token. A browser gets the page with a password of its own; the page asks for what the API wants.
import { check, eventually } from "./harness.mjs";

export const settings = {
  expected: [/401 \(Unauthorized\)/],
  before: ({ page, options }) => page.route((url) => url.pathname === "/", (route) => route.continue({ headers: { ...route.request().headers(), authorization: `Bearer ${options.token}` } })),
};

export default async function token(console_, { token: right }) {
  const { page } = console_;
  const dialog = page.getByRole("dialog");
  await dialog.waitFor();
  const input = page.getByRole("textbox", { name: "Token" });
  check(await input.evaluate((node) => node === document.activeElement && node.type === "password"), "the focus is where the token goes");
  await input.fill("wrong");
  await page.keyboard.press("Enter");
  await eventually("refused", async () => /does not take/.test(await page.locator("#token-trouble").innerText()));
  await page.keyboard.press("Escape");
  await eventually("not given", async () => /asks for its token/.test(await page.locator("#link").innerText()));
  await page.getByRole("button", { name: "Try now" }).click();
  await dialog.waitFor();
  await input.fill(right);
  await page.keyboard.press("Enter");
  await console_.live();
  check(!(await dialog.isVisible()), "asked once");
  const kept = await page.evaluate(() => [Object.values(sessionStorage), Object.values(localStorage), document.cookie]);
  check(JSON.stringify(kept) === JSON.stringify([[right], [], ""]), "the token is kept for the tab, and nowhere else");
  await page.reload();
  await console_.live();
  check(!(await dialog.isVisible()), "and is not asked for again");
}

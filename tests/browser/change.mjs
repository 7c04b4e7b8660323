// One change by the mouse: its button, the words of the dialog and of the gateway, and how it ended.
import { check, eventually } from "./harness.mjs";

export default async function change(console_, { button, within, says, yes, ends, shows }) {
  const { page } = console_;
  await console_.live();
  const where = within ? page.locator(within) : page;
  await where.getByRole("button", { name: button }).first().click();
  const dialog = page.getByRole("dialog");
  await dialog.waitFor();
  await eventually("the gateway's answer to the dry run", async () => /The gateway would do it/.test(await dialog.innerText()));
  const words = await dialog.innerText();
  for (const each of says) check(new RegExp(each).test(words), `the dialog does not say ${each}: ${words}`);
  check((await page.locator("#confirm-dry-text").innerText()).length > 10, "the gateway said nothing about it");
  await dialog.getByRole("button", { name: yes }).click();
  await eventually("the end of it", async () => new RegExp(ends).test(await page.locator("#confirm-dry").innerText()));
  await dialog.getByRole("button", { name: "Close" }).click();
  check(!(await dialog.isVisible()), "the dialog is closed");
  if (shows) await eventually(`${shows[0]} shows ${shows[1]}`, async () => new RegExp(shows[1]).test(await page.locator(shows[0]).first().innerText()));
  check((await page.locator("#operation").innerText()).length > 0, "the last line says what was done");
}

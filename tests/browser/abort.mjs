// The list of tasks, on demand, and the abort of the one that hangs.
import { check, eventually } from "./harness.mjs";

export default async function abort(console_) {
  const { page } = console_;
  await console_.live();
  await page.getByRole("button", { name: "Show tasks" }).click();
  const row = page.locator('[data-f="task-rows"] > tr').first();
  await row.waitFor();
  check(/WRITE/.test(await row.locator('[data-label="Command"]').innerText()), "the oldest task is the write that hangs");
  const tag = await row.locator('[data-label="ITT"]').innerText();
  await row.getByRole("button", { name: /^Abort task/ }).click();
  const dialog = page.getByRole("dialog");
  await eventually("the dry run", async () => /The gateway would do it/.test(await dialog.innerText()));
  check((await dialog.innerText()).includes(tag), "the dialog names the task");
  await dialog.getByRole("button", { name: "Abort the task" }).click();
  await eventually("its end", async () => /Succeeded/.test(await page.locator("#confirm-dry").innerText()));
  await page.keyboard.press("Escape");
  await eventually("the event", async () => /ABORT TASK, by hand/.test(await page.locator("#event-rows").innerText()));
  await page.getByRole("button", { name: "Refresh" }).click();
  await eventually("the task gone", async () => !(await page.locator('[data-f="task-rows"]').innerText()).includes(tag));
}

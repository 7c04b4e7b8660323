// The picture for the README: two exports under load, once there is something to see in their plots, and a task that hangs.
import { check, eventually } from "./harness.mjs";

export const settings = { viewport: { width: 1280, height: 1040 } };

export default async function picture(console_, { seconds, file, control, name, lun }) {
  const { page } = console_;
  await console_.live();
  await page.getByRole("button", { name: `More about ${name}` }).click();
  await eventually("enough samples", async () => ((await page.locator("#export-table tr.main path.line").first().getAttribute("d")).match(/[ML]/g) ?? []).length >= seconds, (seconds + 30) * 1000);
  for (const fault of [{ fault: "hang_tmf", function: 1, count: 1 }, { fault: "hang_task", lun, opcode: "write", count: 1 }]) {
    const answer = await fetch(`${control}/v1/faults`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(fault) });
    check(answer.ok, "the target takes the fault");
  }
  await eventually("a climb", async () => /ABORT TASK/.test(await page.locator(".ladder li[aria-current=step]").innerText()));
  await eventually("it has lasted a little", async () => /^[2-9]/.test(await page.locator(".ladder li[aria-current=step] .ago").innerText()));
  await page.locator("h1").hover();
  await page.screenshot({ path: file });
}

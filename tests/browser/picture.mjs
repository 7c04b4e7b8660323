// The picture for the README: an export under load, once there is something to see in its plots.
import { eventually } from "./harness.mjs";

export const settings = { viewport: { width: 1280, height: 860 } };

export default async function picture(console_, { seconds, file }) {
  const { page } = console_;
  await console_.live();
  await eventually("enough samples", async () => ((await page.locator("#export-table tr.main path.line").first().getAttribute("d")).match(/[ML]/g) ?? []).length >= seconds, (seconds + 30) * 1000);
  await page.screenshot({ path: file });
}

// Both colour schemes, and widths from that of a phone: readable, and nothing sticks out.
import fs from "node:fs";
import { check, eventually } from "./harness.mjs";

/** The contrast (WCAG 2) of the texts that are seen, as [ratio, text]. */
const contrasts = (page) => page.evaluate(() => {
  const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const light = (c) => {
    const [r, g, b] = c.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !node.checkVisibility() || node.closest("script, style, template, option, :disabled")) continue;
    let ground = node;
    while (ground && rgba(getComputedStyle(ground).backgroundColor)[3] < 255) ground = ground.parentElement;
    const style = getComputedStyle(node);
    const [a, b] = [light(rgba(node.namespaceURI.endsWith("svg") ? style.fill : style.color)), light(rgba(getComputedStyle(ground).backgroundColor))];
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), walker.currentNode.data.trim()]);
  }
  return found;
});

export default async function looks(console_) {
  const { page } = console_;
  await console_.live();
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const grounds = {};
  for (const scheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme: scheme });
    grounds[scheme] = await ground();
    const texts = await contrasts(page);
    check(texts.length > 100, `${scheme}: only ${texts.length} texts are seen`);
    const faint = texts.filter(([ratio]) => ratio < 4.5);
    check(faint.length === 0, `${scheme}: too faint: ${JSON.stringify(faint.slice(0, 5))}`);
    for (const width of [1280, 900, 400]) {
      await page.setViewportSize({ width, height: 900 });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      check(wide <= width, `${scheme}: the page is ${wide} wide where there is room for ${width}`);
      const cut = await page.evaluate(() => [...document.querySelectorAll("main button, header button")].filter((each) => each.checkVisibility() && each.getBoundingClientRect().right > innerWidth + 1).map((each) => each.textContent));
      check(cut.length === 0, `${scheme}, ${width} wide: buttons out of sight: ${cut}`);
      const file = await console_.picture(`${scheme}-${width}`);
      check(fs.statSync(file).size > 10000, `${file} shows nothing`);
    }
    await page.setViewportSize({ width: 1280, height: 900 });
  }
  check(grounds.light !== grounds.dark, "light and dark are the same");

  // By the button, whatever the system says (it is at dark).
  const theme = page.getByRole("button", { name: /^Theme/ });
  for (const [label, wanted] of [["light", grounds.light], ["dark", grounds.dark], ["as the system says", grounds.dark]]) {
    await theme.click();
    check((await theme.getAttribute("aria-label")) === `Theme: ${label}`, `the button says ${await theme.getAttribute("aria-label")}`);
    check((await ground()) === wanted, `${label}: ${await ground()}`);
  }
  await theme.click();
  await page.reload();
  await console_.live();
  check((await ground()) === grounds.light, "what was chosen is kept");

  // Rows stay rows for a reader of the screen, also where they are laid out as cards.
  await page.setViewportSize({ width: 400, height: 900 });
  await eventually("the table", async () => (await page.getByRole("table").first().getByRole("row").count()) >= 3);
  check((await page.getByRole("columnheader", { name: "Throughput", includeHidden: true }).count()) === 1, "its headers");
}

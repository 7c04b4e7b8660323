// No mouse: to a button, into its dialog, out again without a trace; and then through it. The page goes on changing
// meanwhile: elements are told apart by themselves, not by their place.
import { check, eventually } from "./harness.mjs";

const MOST_TABS = 120;

const focused = (page) => page.evaluate(() => {
  const node = document.activeElement, style = getComputedStyle(node), before = window.focusedBefore;
  const back = before?.isConnected && node !== before && !(before.compareDocumentPosition(node) & Node.DOCUMENT_POSITION_FOLLOWING);
  window.focusedBefore = node;
  return { tag: node.tagName, id: node.id, text: node.innerText ?? "", outline: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0, back };
});

export default async function keyboard(console_) {
  const { page } = console_;
  await console_.live();
  check((await page.locator("[tabindex]").evaluateAll((all) => all.every((each) => each.tabIndex <= 0))), "the order of the page is the order of Tab");
  await page.keyboard.press("Tab");
  const first = await focused(page);
  check(/^Skip/.test(first.text), `Tab begins at ${first.text}`);
  check((await page.locator(".skip").boundingBox()).x >= 0, "the way around the head is seen once it has the focus");
  let at = first, tabs = 0;
  while (!/^Reset the session/.test(at.text)) {
    check(at.outline, `the focus is not seen on ${at.tag} ${at.text}`);
    check(!at.back, `the focus went back to ${at.tag} ${at.text}`);
    check(++tabs < MOST_TABS, "the button is never reached");
    await page.keyboard.press("Tab");
    at = await focused(page);
  }

  const operations = async () => (await console_.api("/v1/operations")).operations.filter((each) => each.verb === "reset_session");
  const before = (await operations()).length;
  const dialog = page.getByRole("dialog");
  await page.keyboard.press("Enter");
  await dialog.waitFor();
  check((await focused(page)).id === "confirm-no", "the focus is on what does nothing");
  await page.keyboard.press("Escape");
  await eventually("Escape closes", async () => !(await dialog.isVisible()));
  check(/^Reset the session/.test((await focused(page)).text), "the focus is back where it was");
  check((await operations()).length === before, "and nothing was done");

  // Opened again at once, several times: what one dialog leaves behind must not stop the next.
  for (let again = 0; again < 10; ++again) {
    await page.keyboard.press("Enter");
    await dialog.waitFor();
    await page.keyboard.press("Escape");
  }
  await page.keyboard.press("Enter");
  await eventually("the dry run", () => page.locator("#confirm-yes").isEnabled());
  await page.keyboard.press("Tab");
  check((await focused(page)).id === "confirm-yes", "Tab goes on to the button that does it");
  await page.keyboard.press("Enter");
  await eventually("its end", async () => /Succeeded/.test(await page.locator("#confirm-dry").innerText()));
  check((await focused(page)).id === "confirm-no", "the focus is on Close");
  await page.keyboard.press("Enter");
  await eventually("closed", async () => !(await dialog.isVisible()));
  check(/^Reset the session/.test((await focused(page)).text), "the focus is back again");
  const done = await operations();
  check(done.length === before + 1 && done.at(-1).state === "succeeded", `operations: ${JSON.stringify(done)}`);
  await eventually("the event", async () => /SESSION RESET, by hand/.test(await page.locator("#event-rows").innerText()));
}

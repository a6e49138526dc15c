// How the page feels on a full store: how long until the first view stands, and
// whether a scroll through many alerts ever shows a place without its row.
//
//   node scripts/bench.mjs http://127.0.0.1:8080
//
// Not a test: what it measures depends on the machine and what else runs there.
import { chromium } from '@playwright/test';

const url = process.argv[2] ?? 'http://127.0.0.1:8080';
const browser = await chromium.launch({ executablePath: process.env.TOCSIN_CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] });

async function firstView() {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, locale: 'en-US' });
  const page = await context.newPage();
  const began = Date.now();
  await page.goto(url + '/');
  await page.locator('.warning').waitFor();
  const ms = Date.now() - began;
  await context.close();
  return ms;
}
const views = [];
for (let i = 0; i < 5; i++) views.push(await firstView());
console.log(`first view, nothing cached: ${views.join(', ')} ms`);

const page = await (await browser.newContext({ viewport: { width: 1440, height: 900 }, locale: 'en-US' })).newPage();
const began = Date.now();
await page.goto(url + '/alerts');
await page.locator('[role="grid"] .body [role="row"]').first().waitFor();
console.log(`alerts: first rows after ${Date.now() - began} ms`);

// Every frame is looked at: what stands at the places in sight has to be a row.
await page.evaluate(() => {
  const grid = document.querySelector('[role="grid"]');
  const seen = (window.seen = { frames: 0, blank: 0, longest: 0 });
  let last = performance.now();
  const look = (now) => {
    seen.frames++;
    seen.longest = Math.max(seen.longest, now - last);
    last = now;
    const box = grid.getBoundingClientRect();
    for (let y = box.top + 40; y < box.bottom - 20; y += 56) {
      if (!document.elementFromPoint(box.left + 300, y)?.closest('[role="row"]')) {
        seen.blank++;
        break;
      }
    }
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
});
await page.mouse.move(800, 600);
const want = Number(process.argv[3] ?? 100_000);
const start = Date.now();
let rows = 0;
for (let still = 0, before = -1; still < 200; ) {
  await page.mouse.wheel(0, 2800);
  rows = await page.evaluate(() => Number([...document.querySelectorAll('[role="grid"] .body [role="row"]')].at(-1)?.getAttribute('aria-rowindex') ?? 0));
  still = rows === before ? still + 1 : 0;
  before = rows;
  if (rows >= want) break;
}
const seen = await page.evaluate(() => window.seen);
const heap = await page.evaluate(() => performance.memory?.usedJSHeapSize ?? 0);
console.log(`scrolled through ${rows} rows in ${((Date.now() - start) / 1000).toFixed(1)} s: ${seen.frames} frames, ${seen.blank} with a place without a row, the longest ${seen.longest.toFixed(0)} ms, heap ${(heap / 1e6).toFixed(0)} MB`);
await browser.close();

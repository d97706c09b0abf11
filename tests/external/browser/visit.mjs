// Visits pages with Chromium and reports their requests and complaints. The order comes as JSON on
// stdin, the report leaves as JSON on stdout: src/generators.rs writes the one and judges the other.

import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { chromium } from 'playwright-core';

// Milliseconds: for a page, for a proof, and without requests until a page counts as at rest.
const TIMEOUT = 30_000;
const PROOF_TIMEOUT = 10_000;
const REST = 500;

const { program, key, origin, visits } = JSON.parse(await text(process.stdin));
const browser = await chromium.launch({
  executablePath: program,
  // Exactly one public key is trusted, by its hash.
  args: ['--disable-gpu', '--disable-quic', `--ignore-certificate-errors-spki-list=${key}`],
});
const reports = [];
for (const visit of visits) reports.push(await report(visit));
await browser.close();
console.log(JSON.stringify(reports));

async function report(visit) {
  // Without memory of any other page.
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  const page = await context.newPage();
  const requests = [];
  const complaints = [];
  const faults = [];
  let busy = 0;
  let last = Date.now();
  const count = change => {
    busy += change;
    last = Date.now();
  };
  page.on('request', request => requests.push(request) && count(1));
  page.on('requestfinished', () => count(-1));
  page.on('requestfailed', () => count(-1));
  page.on('pageerror', error => complaints.push({ text: `Uncaught ${error.stack}`, url: '' }));
  page.on('console', said => {
    if (['error', 'warning', 'assert'].includes(said.type())) {
      complaints.push({ text: `console.${said.type()}: ${said.text()}`, url: said.location().url });
    }
  });

  const settle = async () => {
    const end = Date.now() + TIMEOUT;
    while (busy > 0 || Date.now() - last < REST) {
      if (Date.now() > end) return faults.push('the page does not come to rest');
      await sleep(50);
    }
  };
  // The page is at this path, and the expression becomes true.
  const expect = async (path, proof) => {
    const script = `location.pathname === ${JSON.stringify(path)} && (${proof})`;
    for (const end = Date.now() + PROOF_TIMEOUT; Date.now() < end; await sleep(50)) {
      await settle();
      // Between two documents there may be nothing to look at yet.
      if (await page.evaluate(script).catch(() => false)) return;
    }
    const seen = await page.evaluate('document.title + ": " + document.body.innerText.slice(0, 200)');
    faults.push(`at ${new URL(page.url()).pathname}, not ${path}, or it is not so that ${proof} (${seen})`);
  };

  await page.goto(origin + visit.path, { timeout: TIMEOUT });
  await expect(visit.arrives, visit.proof);
  let kept = null;
  if (visit.click) {
    // A page's memory is gone when another document is loaded.
    await page.evaluate('window.kept = true');
    await page.locator(visit.click.on).first().click();
    await expect(visit.click.arrives, visit.click.proof);
    kept = await page.evaluate('window.kept === true');
  }
  if (visit.picture) await page.screenshot({ path: visit.picture });
  const exchanges = await Promise.all(requests.map(exchange));
  await context.close();
  return { faults, complaints, kept, exchanges };
}

async function exchange(request) {
  const error = request.failure()?.errorText ?? null;
  // One that is still under way has no answer; the page was not at rest then.
  const answer = error ? null : await Promise.race([request.response(), sleep(1000, null)]);
  const fields = answer?.headers() ?? {};
  return {
    url: request.url(),
    kind: request.resourceType(),
    redirected: request.redirectedTo() !== null,
    status: answer?.status() ?? 0,
    content_type: fields['content-type'] ?? '',
    cache_control: fields['cache-control'] ?? '',
    error,
  };
}

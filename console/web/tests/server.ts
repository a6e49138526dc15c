import { test as base, expect, type Page } from '@playwright/test';
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../../', import.meta.url));
export const binary = process.env.TOCSIN ?? join(root, 'bin/tocsin');

/** One program, from packets to the page. */
export interface Server {
  url: string;
  data: string; // folder of its store
}

/** Starts `tocsin run` and waits until its captures are stored, or with live only until it listens. */
export async function start(args: string[], live = false): Promise<Server & { stdin: Writable; stop: () => Promise<void> }> {
  const data = mkdtempSync(join(tmpdir(), 'tocsin-e2e-'));
  const child = spawn(binary, ['run', ...args, '--listen', '127.0.0.1:0', '--data', data], { stdio: ['pipe', 'pipe', 'pipe'] });
  let said = '';
  const gone = new Promise<void>((done) => child.once('exit', () => done()));
  const url = await new Promise<string>((found, failed) => {
    const hear = (chunk: Buffer) => {
      said += chunk.toString();
      const at = /http:\/\/127\.0\.0\.1:\d+/.exec(said);
      if (at && (live || /stored \d+ events/.test(said))) found(at[0]);
    };
    child.stdout.on('data', hear);
    child.stderr.on('data', hear);
    child.once('error', (e) => failed(new Error(`${binary}: ${e.message}; run make build`)));
    child.once('exit', (code) => failed(new Error(`tocsin ended with ${code}: ${said}`)));
  });
  return {
    url,
    data,
    stdin: child.stdin,
    stop: async () => {
      child.kill('SIGTERM');
      await gone;
      rmSync(data, { recursive: true, force: true });
    },
  };
}

/** A file of a recorded scenario. */
export const recorded = (name: string, file: string) => join(root, 'testdata/scenarios', name, file);

/** The arguments that replay a recorded scenario. */
export function scenario(name: string): string[] {
  const dir = join(root, 'testdata/scenarios', name);
  const files = readdirSync(dir).sort();
  const args = files.filter((f) => /\.pcap(ng)?(\.(zst|gz))?$/.test(f)).flatMap((f) => ['-r', join(dir, f)]);
  if (files.includes('assets.yml')) args.push('--assets', join(dir, 'assets.yml'));
  if (files.includes('reputation.csv')) args.push('--intel', join(dir, 'reputation.csv'));
  return args;
}

/** Notes what a page must never do: ask another origin, write an error to the console, throw, show a dialog. */
export function watch(page: Page, url: string, expected: RegExp[]): string[] {
  const wrong: string[] = [];
  page.on('request', (r) => {
    if (!r.url().startsWith(url + '/') && !/^(data|blob):/.test(r.url())) wrong.push('foreign request: ' + r.url());
  });
  page.on('console', (m) => {
    if (m.type() === 'error' && !expected.some((e) => e.test(m.text()))) wrong.push(`console: ${m.text()} ${m.location().url}`);
  });
  page.on('pageerror', (e) => wrong.push('thrown: ' + e.message));
  page.on('dialog', (d) => {
    wrong.push('dialog: ' + d.message());
    void d.dismiss();
  });
  return wrong;
}

/** A page that fails its test if it does what watch notes. */
export const test = base.extend<{ page: Page; url: string; expected: RegExp[] }, { server: Server }>({
  server: [
    // eslint-disable-next-line no-empty-pattern -- Playwright reads the parameter's shape
    async ({}, use) => {
      const s = await start(scenario('intrusion'));
      await use(s);
      await s.stop();
    },
    { scope: 'worker', timeout: 60_000 },
  ],
  url: async ({ server }, use) => use(server.url),
  /** Errors on the console that a test provokes. */
  // eslint-disable-next-line no-empty-pattern
  expected: async ({}, use) => use([]),
  page: async ({ page, url, expected }, use) => {
    const wrong = watch(page, url, expected);
    await use(page);
    expect(wrong).toEqual([]);
  },
});

export { expect };

export const rows = (page: Page) => page.locator('[role="grid"] .body [role="row"]');
export const total = (page: Page) => page.getByTestId('total');
export const query = (page: Page) => page.getByRole('combobox', { name: /Query|查询/ });
export const detail = (page: Page) => page.locator('article.detail');
export const dialog = (page: Page) => page.getByRole('dialog');

/** Goes to a page and waits until it has shown its answer. */
export async function open(page: Page, url: string, path: string) {
  await page.goto(url + path);
  await expect(rows(page).first()).toBeVisible();
}

/** Presses keys one after the other. */
export async function press(page: Page, ...keys: string[]) {
  for (const k of keys) await page.keyboard.press(k);
}

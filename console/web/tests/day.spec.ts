import { readFileSync } from 'node:fs';
import { detail, dialog, expect, open, press, query, rows, start, scenario, test, total, watch } from './server';

// The analyst's day, job by job, and by keyboard wherever a hand would stay on it.

const critical = '/alerts?q=tocsin.alert.level%3A%20critical';

const words = {
  en: { situation: 'Situation', true: 'true positive', reason: 'the login came after 40 guesses', title: 'Intrusion into the control network', note: 'The plant confirms the restarts.', assess: 'assess', alerts: 'Alerts', report: 'Hand-over', add: 'alerts to an incident' },
  zh: { situation: '态势总览', true: '真实攻击', reason: '四十次猜测之后登录成功', title: '控制网入侵', note: '厂站确认设备重启。', assess: '评估', alerts: '告警', report: '交接', add: '条告警加入处置单' },
} as const;

for (const lang of ['en', 'zh'] as const) {
  test.describe(`in ${lang}`, () => {
    test('the intrusion is found, judged, handed on and exported, all without a mouse', async ({ page, url }) => {
      const w = words[lang];
      await page.goto(`${url}/?lang=${lang}`);
      await expect(page.locator('h1')).toHaveText(w.situation);
      // The situation says how grave it is, and leads to why.
      await expect(page.locator('.warning')).toHaveAttribute('data-level', /red|orange/);
      await press(page, 'Enter');
      await expect(page).toHaveURL(/\/alerts\/[0-9a-f]{32}/);
      const sentence = detail(page).locator('h1');
      await expect(sentence).not.toBeEmpty();
      await expect(detail(page).locator('.explain tbody tr').first()).toBeVisible();
      // Judge it, with the reason that a verdict needs.
      await press(page, 'p');
      await expect(dialog(page)).toBeVisible();
      await page.keyboard.type(w.reason);
      await press(page, 'Control+Enter');
      await expect(dialog(page)).toHaveCount(0);
      await expect(detail(page).locator('header')).toContainText(w.true);
      await expect(detail(page)).toContainText(w.reason);
      // Where did it come from?
      await press(page, 'T');
      await expect(page.locator('.graph .node').first()).toBeVisible();
      expect(await page.locator('.graph .edge.path').count()).toBeGreaterThan(0);
      await press(page, 'Escape', 'Escape');
      await expect(page).toHaveURL(/\/alerts\?/);
      // Everything critical goes to one incident.
      await press(page, '/');
      await query(page).fill('tocsin.alert.level: critical');
      await press(page, 'Enter', 'Escape', 'Escape');
      await expect(rows(page).locator('.level').first()).toHaveAttribute('data-level', 'critical');
      const n = await rows(page).count();
      await press(page, 'Home');
      for (let i = 0; i < n; i++) await press(page, 'x');
      await expect(page.locator('.row.marked')).toHaveCount(n);
      await press(page, 'e');
      await expect(dialog(page)).toContainText(w.add);
      await page.locator('.dialog input').first().fill(w.title);
      await press(page, 'Control+Enter');
      await expect(page).toHaveURL(/\/incidents\/[\w-]+/);
      await expect(detail(page).locator('h1')).toHaveText(w.title);
      await expect(page.locator('.moments .alert')).toHaveCount(n);
      // Write down what is known, and go on to the next phase.
      await press(page, 'c');
      await page.keyboard.type(w.note);
      await press(page, 'Control+Enter');
      await expect(page.locator('.notes')).toContainText(w.note);
      await press(page, 'Escape');
      await press(page, 'S');
      await expect(page.locator('.states [aria-current]')).toHaveText(w.assess);
      await press(page, '[', '[', '[');
      await expect(page.locator('.moments')).toContainText(w.note);
      // Hand over: the report is a file, and the alerts are another.
      const [report] = await Promise.all([page.waitForEvent('download'), page.keyboard.press('R')]);
      const told = readFileSync(await report.path(), 'utf8');
      expect(told).toContain(w.title);
      expect(told).toContain(w.note);
      await press(page, 'g', 'a');
      await expect(rows(page).first()).toBeVisible();
      await press(page, 'E');
      await expect(dialog(page)).toBeVisible();
      const [download] = await Promise.all([page.waitForEvent('download'), page.keyboard.press('Control+Enter')]);
      const lines = readFileSync(await download.path(), 'utf8').trim().split('\n');
      expect(lines.length).toBeGreaterThan(n);
      expect(lines[0]).toContain('@timestamp');
    });
  });
}

test('a second browser sees triage within a second', async ({ browser, page, url }) => {
  await open(page, url, critical);
  const other = await (await browser.newContext({ locale: 'en-US' })).newPage();
  await open(other, url, critical);
  await expect(other.locator('.live')).toHaveText(/live/);
  const row = rows(other).last();
  const id = await row.getAttribute('id');
  const was = await row.locator('.status').innerText();
  const seen = other.evaluate(
    ([id, was]) =>
      new Promise<number>((done) => {
        const look = () => (document.getElementById(id ?? '')?.querySelector('.status')?.textContent?.trim() !== was ? done(Date.now()) : requestAnimationFrame(look));
        look();
      }),
    [id, was] as const,
  );
  await rows(page).last().click();
  await expect(detail(page).locator('h1')).not.toBeEmpty();
  await page.keyboard.press('b');
  await page.keyboard.type('seen by two');
  const sent = Date.now();
  await page.keyboard.press('Control+Enter');
  expect((await seen) - sent).toBeLessThan(1000);
  await press(page, 'u');
  await expect(rows(other).last().locator('.status')).toHaveText(was);
  await other.context().close();
});

test('many alerts are judged at once, and it is taken back', async ({ page, url }) => {
  await open(page, url, '/alerts?q=tocsin.alert.level%3A%20medium');
  const status = (i: number) => rows(page).nth(i).locator('.status');
  await press(page, 'x', 'x', 'x');
  await expect(page.getByText('3 marked')).toBeVisible();
  await press(page, 'a');
  for (const i of [0, 1, 2]) await expect(status(i)).toHaveText('acknowledged');
  await expect(status(3)).toHaveText('open');
  await press(page, 'u');
  for (const i of [0, 1, 2]) await expect(status(i)).toHaveText('open');
  await press(page, 'Escape');
  await expect(page.locator('.row.marked')).toHaveCount(0);
  // With a mouse: a range with the shift key.
  await rows(page).nth(1).locator('input').click();
  await rows(page).nth(4).locator('input').click({ modifiers: ['Shift'] });
  await expect(page.locator('.row.marked')).toHaveCount(4);
  await press(page, 'i');
  await page.locator('.dialog input').fill('wang');
  await press(page, 'Enter');
  await expect(page.getByText('assigned to wang')).toBeVisible();
  await press(page, 'u');
  await expect(page.getByText('Taken back')).toBeVisible();
});

test('a verdict needs its reason', async ({ page, url }) => {
  await open(page, url, critical);
  await rows(page).first().click();
  await detail(page).getByRole('button', { name: /False positive/ }).click();
  const save = dialog(page).getByRole('button', { name: /Save verdict/ });
  await expect(save).toBeDisabled();
  await press(page, 'Control+Enter');
  await expect(dialog(page)).toBeVisible();
  await press(page, 'Escape');
  await expect(dialog(page)).toHaveCount(0);
  // Escape closed the dialog and not what lies below.
  await expect(detail(page)).toBeVisible();
});

test('what is suppressed is out of sight until it is lifted', async ({ page, url }) => {
  await open(page, url, '/alerts?q=tocsin.alert.level%3A%20medium');
  const all = await total(page).innerText();
  await press(page, 'j', 's');
  await expect(dialog(page)).toBeVisible();
  await dialog(page).getByLabel(/Reason/).fill('our own scanner, agreed with li');
  await press(page, 'Control+Enter');
  await expect(dialog(page)).toHaveCount(0);
  await expect(total(page)).not.toHaveText(all);
  await page.getByRole('link', { name: /suppressed/ }).click();
  await expect(total(page)).toHaveText(all);
  await press(page, 'g', 'r');
  await page.locator('.held summary').click();
  await expect(page.locator('.held')).toContainText('our own scanner');
  await page.locator('.held').getByRole('button', { name: 'Lift' }).click();
  await expect(page.locator('.held')).toHaveCount(0);
  await page.goto(url + '/alerts?q=tocsin.alert.level%3A%20medium');
  await expect(total(page)).toHaveText(all);
});

test('alerts are grouped, and a group opens', async ({ page, url }) => {
  await open(page, url, '/alerts');
  const all = Number.parseInt(await total(page).innerText());
  await page.getByLabel('Group by').selectOption('source');
  const lines = page.locator('.groups tbody tr');
  await expect(lines.first()).toBeVisible();
  const sources = await lines.count();
  expect(sources).toBeGreaterThan(2);
  expect(sources).toBeLessThan(all);
  const n = Number(await lines.first().locator('td.num').first().innerText());
  await page.getByLabel('Group by').blur();
  await press(page, 'j', 'Enter');
  await expect(query(page)).toHaveValue(/^tocsin\.alert\.source: /);
  await expect(total(page)).toHaveText(`${n} in all`);
});

test('from a value one goes on by keyboard', async ({ page, url }) => {
  await open(page, url, critical);
  await press(page, 'j', 'Enter');
  await expect(detail(page).locator('h1')).not.toBeEmpty();
  await press(page, '.');
  const menu = page.getByRole('menu');
  await expect(menu.getByRole('menuitem', { name: 'Only this' })).toBeVisible();
  await expect(menu.getByRole('menuitem', { name: 'Trace it' })).toBeVisible();
  await press(page, 'Escape');
  await expect(menu).toHaveCount(0);
  await expect(detail(page)).toBeVisible();
  await press(page, '.');
  await menu.getByRole('menuitem', { name: 'The asset' }).press('Enter');
  await expect(page).toHaveURL(/\/assets\//);
  await expect(detail(page)).toContainText(/Services|Zone/);
  await page.goBack();
  await expect(detail(page).locator('h1')).not.toBeEmpty();
  await press(page, '.');
  await menu.getByRole('menuitem', { name: 'Without this' }).click();
  await expect(query(page)).toHaveValue(/and not tocsin\.alert\.source: /);
});

test('an alert shows assets, what is related, and what is kept of packets', async ({ page, url }) => {
  await open(page, url, '/alerts?q=rule.name%3A%20*web%20shell*%20or%20tocsin.alert.level%3A%20critical');
  await rows(page).first().click();
  const d = detail(page);
  await expect(d.locator('h1')).not.toBeEmpty();
  await expect(d.locator('.host').first()).toBeVisible();
  await expect(d.locator('.related a').first()).toBeVisible();
  await d.locator('.evidence summary').first().click();
  await d.getByRole('button', { name: 'Look at the packets' }).first().click();
  // Packets stay where they were captured; the page shows those that the server has, or says that it has none.
  await expect(d.locator('.dump .line').or(d.getByText('No packets of this event are kept')).first()).toBeVisible();
});

test('a write shows the old and the new value', async ({ page, url }) => {
  await open(page, url, '/events?q=ics.operation%3A%20write%20and%20ics.objects.old_value%3A%20*');
  await expect(rows(page).first().locator('.summary')).toContainText('→');
  await rows(page).first().click();
  const d = detail(page);
  await expect(d.getByRole('heading', { name: 'What was written' })).toBeVisible();
  await expect(d.getByRole('columnheader', { name: 'Old value' })).toBeVisible();
  expect(await d.locator('td.changed').count()).toBeGreaterThan(0);
});

test('talkers are a graph and a table', async ({ page, url }) => {
  await open(page, url, '/events');
  await press(page, 'v');
  await expect(page).toHaveURL(/view=talkers/);
  await expect(page.locator('.pairs tbody tr').first()).toBeVisible();
  await expect(page.locator('.graph canvas').first()).toBeVisible();
  const flows = Number((await page.locator('.pairs tbody tr').first().locator('td.num').first().innerText()).replace(/\D/g, ''));
  await page.locator('.pairs tbody tr').first().locator('td.num a').click();
  await expect(page).not.toHaveURL(/view=talkers/);
  await expect(total(page)).not.toHaveText('0 in all');
  expect(flows).toBeGreaterThan(0);
});

test('a search is kept, shared, run again, and made a rule', async ({ page, url }) => {
  await open(page, url, '/events?q=ics.operation%3A%20write');
  await press(page, 'w');
  await page.getByRole('menuitem', { name: 'Keep this search' }).click();
  await dialog(page).getByLabel('Name').fill('Writes to controllers');
  await dialog(page).getByLabel(/Share/).check();
  await press(page, 'Control+Enter');
  await expect(dialog(page)).toHaveCount(0);
  await page.goto(url + '/events');
  await expect(rows(page).first()).toBeVisible();
  await press(page, 'w');
  await page.getByRole('menuitem', { name: /Writes to controllers/ }).first().click();
  await expect(query(page)).toHaveValue('ics.operation: write');
  await page.getByRole('button', { name: 'To a rule' }).click();
  await dialog(page).getByLabel('Title of the rule').fill('A write to a controller');
  await press(page, 'Enter');
  await expect(dialog(page).locator('pre')).toContainText('title: A write to a controller');
  await expect(dialog(page).locator('pre')).toContainText('ics.operation: write');
  await press(page, 'Escape');
});

test('incidents are worked on: tasks, owner, pins, merge, split', async ({ page, url }) => {
  await open(page, url, '/alerts?q=tocsin.alert.level%3A%20high');
  for (const title of ['First half', 'Second half']) {
    await press(page, 'x', 'x', 'e');
    await expect(dialog(page)).toBeVisible();
    await dialog(page).getByLabel('Title').fill(title);
    await press(page, 'Control+Enter');
    await expect(detail(page).locator('h1')).toHaveText(title);
    await page.goBack();
    await expect(rows(page).first()).toBeVisible();
    await press(page, 'Escape');
  }
  await press(page, 'g', 'i');
  await page.getByRole('link', { name: 'First half' }).click();
  const d = detail(page);
  await d.getByRole('tab', { name: /Tasks/ }).click();
  await d.locator('.tasks input').first().check();
  await expect(d.getByRole('tab', { name: /Tasks/ })).toContainText(/1\/\d+/);
  await d.getByLabel('A task of your own').fill('Call the plant');
  await press(page, 'Enter');
  await expect(d.locator('.tasks')).toContainText(['Call the plant']);
  await press(page, 'Escape', 'i');
  await dialog(page).getByLabel('Owner').fill('wang');
  await press(page, 'Enter');
  await expect(d.locator('header')).toContainText('wang');
  await d.getByRole('button', { name: 'Merge' }).click();
  await dialog(page).getByLabel('Second half').check();
  await dialog(page).getByRole('button', { name: 'Merge' }).click();
  await expect(dialog(page)).toHaveCount(0);
  await d.getByRole('tab', { name: /Timeline/ }).click();
  const moments = d.locator('.moments .alert');
  const n = await moments.count();
  expect(n).toBeGreaterThan(1);
  await d.getByRole('button', { name: 'Split' }).click();
  await dialog(page).getByLabel('Title').fill('A part of it');
  await dialog(page).locator('input[type=checkbox]').first().check();
  await dialog(page).getByRole('button', { name: 'Split' }).click();
  await expect(d.locator('h1')).toHaveText('A part of it');
  await expect(moments).toHaveCount(1);
  await d.getByRole('tab', { name: /History/ }).click();
  await expect(d.getByRole('tabpanel')).not.toBeEmpty();
});

test('rules show what they cost and can be tried', async ({ page, url }) => {
  await page.goto(url + '/rules');
  const list = page.locator('.list tbody tr:has(a)');
  await expect(list.first()).toBeVisible();
  expect(await list.count()).toBeGreaterThan(20);
  await page.getByLabel('Title, file, technique').fill('modbus');
  await press(page, 'Escape', 'j', 'Enter');
  await expect(detail(page).locator('pre')).toContainText('logsource');
  await press(page, 'B');
  await expect(detail(page).getByText(/events match, which makes/)).toBeVisible({ timeout: 20_000 });
});

test('reputation says what is listed', async ({ page, url }) => {
  await page.goto(url + '/reputation');
  await expect(page.locator('tbody tr').first()).toContainText('reputation');
  const listed = readFileSync(new URL('../../../testdata/scenarios/intrusion/reputation.csv', import.meta.url), 'utf8').split('\n')[1]?.split(',') ?? [];
  const value = listed.find((v) => /^\d+\.\d+\.\d+\.\d+$|^[\w-]+\.[\w.-]+$/.test(v)) ?? '';
  await press(page, '/');
  await page.keyboard.type(value);
  await press(page, 'Enter');
  await expect(page.locator('.result')).toContainText('listed with confidence');
  await page.getByLabel(/Address, name/).fill('192.0.2.123');
  await press(page, 'Enter');
  await expect(page.locator('.result')).toContainText('not listed');
});

test('every sensor’s account comes out', async ({ page, url }) => {
  await page.goto(url + '/sensors');
  const accounts = page.locator('.list tbody tr');
  await expect(accounts).toHaveCount(3);
  for (const row of await accounts.all()) await expect(row).toContainText('comes out');
  await press(page, 'j', 'Enter');
  await expect(detail(page).locator('.equation')).toContainText('✓');
  await expect(detail(page).locator('.minutes canvas')).toBeVisible();
});

test('assets are found by what they are', async ({ page, url }) => {
  await page.goto(url + '/assets');
  await expect(page.locator('.list tbody tr a').first()).toBeVisible();
  const all = await page.locator('.list tbody tr').count();
  await press(page, '/');
  await page.keyboard.type('plc');
  await expect(page.locator('.list tbody tr').first()).toContainText(/plc/i);
  expect(await page.locator('.list tbody tr').count()).toBeLessThan(all);
  await press(page, 'Escape', 'j', 'Enter');
  await expect(detail(page)).toContainText('modbus');
});

test.describe('with people', () => {
  test.use({ expected: [/401|403/] });
  test('one signs in, and sees what one may', async ({ browser }) => {
    const server = await start(scenario('phish').slice(0, 2));
    const context = await browser.newContext({ locale: 'en-US' });
    const page = await context.newPage();
    const wrong = watch(page, server.url, [/401|403/]);
    try {
      // The first user ends the time in which whoever is here is the operator.
      await page.goto(server.url + '/admin');
      await expect(page.getByText('No users exist')).toBeVisible();
      const add = async (name: string, role: string) => {
        await page.getByRole('button', { name: 'Add a user' }).click();
        await dialog(page).getByLabel('Name', { exact: true }).fill(name);
        await dialog(page).getByLabel('Password').fill('a long enough secret');
        await dialog(page).getByLabel('analyst').uncheck();
        await dialog(page).getByLabel(role).check();
        await dialog(page).getByRole('button', { name: 'Add a user' }).click();
      };
      await add('root', 'administrator');
      await expect(page).toHaveURL(/\/sign-in/);
      const signIn = async (name: string, password = 'a long enough secret') => {
        await page.getByLabel('Name').fill(name);
        await page.getByLabel('Password').fill(password);
        await press(page, 'Enter');
      };
      await signIn('root', 'not this one');
      await expect(page.getByRole('alert')).toContainText('wrong');
      await signIn('root');
      await expect(page).toHaveURL(/\/admin/);
      await add('viola', 'viewer');
      await expect(page.getByRole('row', { name: /viola/ })).toContainText('viewer');
      await page.getByRole('link', { name: 'API tokens' }).click();
      await page.getByRole('button', { name: 'New token' }).click();
      await dialog(page).getByLabel('What it is for').fill('a script');
      await dialog(page).getByRole('button', { name: 'New token' }).click();
      await expect(dialog(page).getByLabel('Secret of the token')).not.toHaveValue('');
      await press(page, 'Escape');
      await page.getByRole('button', { name: 'Sign out' }).first().click();
      await expect(page).toHaveURL(/\/sign-in/);
      // A viewer reads, and is not offered what a viewer may not.
      await signIn('viola');
      await page.goto(server.url + '/alerts');
      await expect(page.locator('.tools button', { hasText: 'viola' }).or(page.getByRole('link', { name: 'viola' }))).toBeVisible();
      await expect(page.getByRole('button', { name: /Export/ })).toHaveCount(0);
      expect((await page.request.post(server.url + '/api/v1/triage', { data: { ids: [], decision: { status: 'open' } } })).status()).toBeGreaterThanOrEqual(400);
      expect(wrong).toEqual([]);
    } finally {
      await context.close();
      await server.stop();
    }
  });
});

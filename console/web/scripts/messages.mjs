// Checks that the page says nothing that is not in both catalogues, and that
// the catalogues say nothing that the page does not: run by every build.
import { readdirSync, readFileSync } from 'node:fs';

const src = new URL('../src/', import.meta.url);
const read = (name) => readFileSync(new URL(name, src), 'utf8');
const keysOf = (name) => [...read(name).matchAll(/^ {2}'([^']+)':/gm)].map((m) => m[1]);

const [en, zh] = [keysOf('messages/en.ts'), keysOf('messages/zh.ts')];
const wrong = [];
for (const [one, other, name] of [[en, zh, 'zh'], [zh, en, 'en']]) {
  const have = new Set(other);
  for (const key of one) if (!have.has(key)) wrong.push(`${name}.ts: no text for ${key}`);
}

const files = readdirSync(src, { recursive: true }).map(String).filter((f) => /\.(svelte|ts)$/.test(f) && !/^messages\/|\.test\./.test(f));
const have = new Set(en);
const said = new Set();
const prefixes = [];
for (const file of files) {
  const text = read(file);
  // t('key'), and keys that are passed on: label: 'key', key: 'key'.
  for (const m of text.matchAll(/\b(?:t\(|(?:label|key): )'([\w-]+\.[\w.-]+)'/g)) {
    said.add(m[1]);
    if (!have.has(m[1])) wrong.push(`${file}: no text for ${m[1]}`);
  }
  // t(x ? 'key' : 'key'), [['key', …]]: whatever looks like a key and is one is said.
  for (const m of text.matchAll(/'([a-z][\w-]*\.[\w.-]+)'/gi)) said.add(m[1]);
  for (const m of text.matchAll(/\bt\([^()`]*\?[^()`]*\)/g)) {
    for (const k of m[0].matchAll(/'([a-z][\w-]*\.[\w.-]+)'/gi)) if (!have.has(k[1])) wrong.push(`${file}: no text for ${k[1]}`);
  }
  // Keys that end in a word from data: `level.${x}`, word('level.', x).
  for (const m of text.matchAll(/`([\w.-]+\.)\$\{/g)) prefixes.push(m[1]);
  for (const m of text.matchAll(/'([\w.-]+\.)'/g)) prefixes.push(m[1]);
}
for (const key of en) {
  if (!said.has(key) && !prefixes.some((p) => key.startsWith(p))) wrong.push(`en.ts: nothing says ${key}`);
}
if (wrong.length > 0) {
  console.error([...new Set(wrong)].join('\n'));
  process.exit(1);
}

// Holds the built page to its budget: what a browser loads for the first view,
// and all that there is, gzipped as the server sends it.
import { readdirSync, readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

const budget = { first: 200_000, all: 600_000 }; // bytes

const dist = new URL('../dist/', import.meta.url);
const read = (name) => readFileSync(new URL(name, dist));
const size = (name) => gzipSync(read(name), { level: 6 }).length;
const files = readdirSync(dist, { recursive: true }).map(String).filter((f) => /\.(js|css|html|svg)$/.test(f));
if (!files.includes('index.html')) throw new Error('the page was not built: npm run build');

// A script and what it cannot do without. What it loads later stands in
// import("…") and in the list of files to load with it.
const first = new Set(['index.html', 'bell.svg']);
const follow = (name) => {
  if (first.has(name)) return;
  first.add(name);
  if (!name.endsWith('.js')) return;
  for (const m of read(name).toString().matchAll(/(?:from|import)\s*["']\.\/([\w.-]+)["']/g)) follow('static/' + m[1]);
};
for (const m of read('index.html').toString().matchAll(/(?:src|href)="\/(static\/[^"]+)"/g)) follow(m[1]);
// The page at / is the situation.
const page = files.filter((f) => /^static\/(Situation|Histogram|TimeRange|Matrix)-.*\.(js|css)$/.test(f));
if (page.length === 0) throw new Error('the page of the first view is not among the files of the build');
page.forEach(follow);

const sum = (names) => [...names].reduce((n, f) => n + size(f), 0);
const got = { first: sum(first), all: sum(files) };
for (const [what, most] of Object.entries(budget)) {
  console.log(`${what}: ${(got[what] / 1000).toFixed(1)} of ${most / 1000} kB gzipped`);
  if (got[what] > most) process.exitCode = 1;
}
if (process.exitCode) console.error([...files].map((f) => `${size(f)}\t${first.has(f) ? 'first' : ''}\t${f}`).sort((a, b) => parseInt(b) - parseInt(a)).slice(0, 15).join('\n'));

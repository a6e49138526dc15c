// Help with the query language; its meaning is the server's alone.

const bare = /^[A-Za-z0-9_.:/-]+$/;
const words = new Set(['and', 'or', 'not']);

/** A value as the language wants it written. */
export function quote(value: string): string {
  if (bare.test(value) && !words.has(value.toLowerCase()) && !/^[-:/]|:$/.test(value) && (!value.includes(':') || isAddress(value))) return value;
  return '"' + value.replace(/\\/g, '\\\\').replace(/"/g, '\\"') + '"';
}

function isAddress(v: string): boolean {
  return /^[0-9a-fA-F:.]+$/.test(v) && v.split(':').length > 2 && !v.includes(':::');
}

export function clause(field: string, value: string): string {
  // A quoted address is safe in every grammar; a bare one with colons may not be.
  return `${field}: ${value.includes(':') ? '"' + value.replace(/\\/g, '\\\\').replace(/"/g, '\\"') + '"' : quote(value)}`;
}

/** The query narrowed by one more condition; unchanged if it has it already. */
export function narrow(query: string, field: string, value: string, without = false): string {
  const added = (without ? 'not ' : '') + clause(field, value);
  const q = query.trim();
  if (!q) return added;
  if (parts(q).includes(added)) return q;
  return (hasOr(q) ? `(${q})` : q) + ' and ' + added;
}

/** Whether an `or` stands outside quotes and parentheses. */
function hasOr(q: string): boolean {
  return split(q, 'or').length > 1;
}

function parts(q: string): string[] {
  return split(q, 'and').map((p) => p.trim());
}

function split(q: string, word: 'and' | 'or'): string[] {
  const out: string[] = [];
  let depth = 0;
  let quoted = false;
  let start = 0;
  for (let i = 0; i < q.length; i++) {
    const c = q[i];
    if (quoted) {
      if (c === '\\') i++;
      else if (c === '"') quoted = false;
    } else if (c === '"') quoted = true;
    else if (c === '(') depth++;
    else if (c === ')') depth--;
    else if (depth === 0 && c === ' ' && q.slice(i + 1, i + 2 + word.length).toLowerCase() === word + ' ') {
      out.push(q.slice(start, i));
      i += word.length;
      start = i + 1;
    }
  }
  out.push(q.slice(start));
  return out;
}

/** What stands under the caret: the beginning of a field's name, or of its value. */
export interface Wanted {
  kind: 'field' | 'value';
  field: string; // of a value
  prefix: string;
  start: number; // of the prefix in the text
}

export function wanted(query: string, caret: number): Wanted | null {
  const before = query.slice(0, caret);
  const value = /(?:^|[\s(])([A-Za-z@][\w.@]*)\s*:\s*("?)([^\s"():]*)$/.exec(before);
  if (value) {
    const [, field = '', open = '', prefix = ''] = value;
    return { kind: 'value', field, prefix, start: caret - prefix.length - open.length };
  }
  // Inside quotes nothing is completed.
  if (((before.match(/"/g) ?? []).length & 1) === 1) return null;
  const field = /(?:^|[\s(])([A-Za-z@][\w.@]*)$/.exec(before);
  if (field) {
    const prefix = field[1] ?? '';
    return { kind: 'field', field: '', prefix, start: caret - prefix.length };
  }
  return /(?:^|[\s(])$/.test(before) ? { kind: 'field', field: '', prefix: '', start: caret } : null;
}

/** Puts a completion where it is wanted; returns the text and the new caret. */
export function complete(query: string, caret: number, w: Wanted, choice: string): { text: string; caret: number } {
  const put = w.kind === 'field' ? choice + ': ' : clause('', choice).slice(2) + ' ';
  let rest = query.slice(caret);
  if (w.kind === 'field') rest = rest.replace(/^[\w.@]*\s*:?\s*/, '');
  else rest = rest.replace(/^[^\s()]*\s?/, '');
  const head = query.slice(0, w.start) + put;
  return { text: head + rest, caret: head.length };
}

/** Names that contain the prefix: those that begin with it first. */
export function rank<T extends { name: string }>(docs: T[], prefix: string, limit: number): T[] {
  const p = prefix.toLowerCase();
  const score = (n: string) => (n.startsWith(p) ? 0 : n.includes('.' + p) ? 1 : n.includes(p) ? 2 : 3);
  return docs
    .map((d) => ({ d, s: score(d.name.toLowerCase()) }))
    .filter((x) => x.s < 3)
    .sort((a, b) => a.s - b.s)
    .slice(0, limit)
    .map((x) => x.d);
}

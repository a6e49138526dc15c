// Help with the query language; its meaning is the server's alone.

const bare = /^[A-Za-z0-9_.:/-]+$/;
const words = new Set(['and', 'or', 'not']);

/** A value as the language wants it written. */
export function quote(value: string): string {
  if (bare.test(value) && !words.has(value.toLowerCase()) && !/^[-:/]|:$/.test(value) && (!value.includes(':') || isAddress6(value))) return value;
  return '"' + value.replace(/\\/g, '\\\\').replace(/"/g, '\\"') + '"';
}

function isAddress6(v: string): boolean {
  return /^[0-9a-fA-F:.]+$/.test(v) && v.split(':').length > 2 && !v.includes(':::');
}

/** Whether a text looks like an IPv4 or IPv6 address. */
export function isAddress(v: string): boolean {
  return isAddress6(v) || (/^(\d{1,3}\.){3}\d{1,3}$/.test(v) && v.split('.').every((n) => Number(n) < 256));
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

import type { Json, Rec } from './api';

/** The value at a dotted name. */
export function at(record: Rec, name: string): Json | undefined {
  let v: Json | undefined = record;
  for (const part of name.split('.')) {
    if (v === null || typeof v !== 'object' || Array.isArray(v)) return undefined;
    v = v[part];
  }
  return v;
}

/** A value as text; of a list its elements, joined. */
export function text(v: Json | undefined): string {
  if (v === undefined || v === null) return '';
  if (Array.isArray(v)) return v.map(text).join(', ');
  if (typeof v === 'object') {
    return Object.entries(v)
      .map(([k, x]) => k + '=' + text(x))
      .join(' ');
  }
  return String(v);
}

/**
 * A text from the wire for the eye: controls that would turn the direction of
 * what follows, or hide, are written out. For a query use the text itself.
 */
export function visible(s: string): string {
  return s.replace(/(?![\n\t])[\p{Cc}\p{Cf}]/gu, (c) => '\\u' + (c.codePointAt(0) ?? 0).toString(16).padStart(4, '0'));
}

export const str = (record: Rec, name: string) => text(at(record, name));

/** The texts at a name: one for each element of a list. */
export function texts(record: Rec, name: string): string[] {
  const v = at(record, name);
  if (v === undefined || v === null) return [];
  return Array.isArray(v) ? v.map(text) : [text(v)];
}

export interface Row {
  name: string;
  value: string;
  /** Whether a query can compare the field with this text. */
  scalar: boolean;
}

/** Every field of a record by name: one row for each element of a list. */
export function rows(record: Rec): Row[] {
  const out: Row[] = [];
  const walk = (v: Json, name: string) => {
    if (Array.isArray(v)) {
      for (const x of v) {
        if (x !== null && typeof x === 'object') out.push({ name, value: text(x), scalar: false });
        else out.push({ name, value: text(x), scalar: true });
      }
    } else if (v !== null && typeof v === 'object') {
      for (const [k, x] of Object.entries(v)) walk(x, name ? name + '.' + k : k);
    } else {
      out.push({ name, value: text(v), scalar: true });
    }
  };
  walk(record, '');
  return out.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
}

/** Asked of each row of long lists, so without taking a name apart. */
export const id = (record: Rec) => {
  const e = record['event'];
  return e !== null && typeof e === 'object' && !Array.isArray(e) ? text(e['id']) : '';
};
export const time = (record: Rec) => str(record, '@timestamp');

/** An end of a conversation: address and port. */
function end(record: Rec, side: 'source' | 'destination'): string {
  const ip = str(record, side + '.ip') || str(record, side + '.mac');
  const transport = str(record, 'network.transport');
  const port = transport.includes('icmp') ? '' : str(record, side + '.port');
  if (!port) return ip;
  return ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`;
}

export function ends(record: Rec): string {
  const a = end(record, 'source');
  const b = end(record, 'destination');
  return a && b ? `${a} → ${b}` : a || b;
}

// What a person looks at first, for kinds of events that we know; what we do
// not know is shown in the order of its names.
const first = [
  'ics.operation', 'ics.function.name', 'ics.unit', 'ics.objects', 'ics.status.name',
  'dns.question.type', 'dns.question.name', 'dns.response_code', 'dns.resolved_ip',
  'http.request.method', 'url.full', 'url.domain', 'url.path', 'http.response.status_code', 'user_agent.original',
  'tls.client.server_name', 'tls.version', 'tls.client.ja4', 'tls.server.subject',
  'network.protocol', 'tocsin.flow.state', 'network.bytes', 'network.packets',
];
const boring = /^(@timestamp|event\.|observer\.|source\.|destination\.|network\.|tocsin\.)/;

/** What was read or written in a word or two: holding_register 12: 230 → 999. */
function objects(record: Rec): string {
  const list = at(record, 'ics.objects');
  if (!Array.isArray(list)) return '';
  const shown = list.slice(0, 3).map((o) => {
    if (o === null || typeof o !== 'object' || Array.isArray(o)) return text(o);
    const name = `${text(o['type'])} ${text(o['address'])}`.trim();
    const value = text(o['value']);
    const old = text(o['old_value']);
    return name + (value ? ': ' + (old ? old + ' → ' : '') + value : '');
  });
  return shown.join('; ') + (list.length > 3 ? ` +${list.length - 3}` : '');
}

/** One line about an event. */
export function summary(record: Rec, longest = 200): string {
  const parts: string[] = [];
  const take = (name: string, value: string) => {
    if (value) parts.push(name.slice(name.lastIndexOf('.') + 1) + '=' + value);
  };
  for (const name of first) take(name, name === 'ics.objects' ? objects(record) : str(record, name));
  if (parts.length < 4) {
    for (const r of rows(record)) {
      if (!boring.test(r.name) && !first.includes(r.name)) take(r.name, r.value);
      if (parts.length > 8) break;
    }
  }
  const line = parts.join('  ');
  return line.length > longest ? line.slice(0, longest) + '…' : line;
}

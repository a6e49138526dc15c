// Times are RFC 3339 in UTC in the URL and the API, and in the analyst's
// chosen zone on the screen.

export type Zone = 'utc' | 'local';

const two = (n: number) => String(n).padStart(2, '0');

interface Parts {
  y: number;
  mo: number;
  d: number;
  h: number;
  mi: number;
  s: number;
  ms: number;
}

function parts(t: Date, zone: Zone): Parts {
  return zone === 'utc'
    ? { y: t.getUTCFullYear(), mo: t.getUTCMonth() + 1, d: t.getUTCDate(), h: t.getUTCHours(), mi: t.getUTCMinutes(), s: t.getUTCSeconds(), ms: t.getUTCMilliseconds() }
    : { y: t.getFullYear(), mo: t.getMonth() + 1, d: t.getDate(), h: t.getHours(), mi: t.getMinutes(), s: t.getSeconds(), ms: t.getMilliseconds() };
}

/** 2026-03-01 12:30:00, with .123 if asked. */
export function format(time: string | number | Date | undefined, zone: Zone, millis = false): string {
  if (time === undefined || time === '') return '';
  const t = new Date(time);
  if (Number.isNaN(t.getTime())) return String(time);
  const p = parts(t, zone);
  const s = `${p.y}-${two(p.mo)}-${two(p.d)} ${two(p.h)}:${two(p.mi)}:${two(p.s)}`;
  return millis ? s + '.' + String(p.ms).padStart(3, '0') : s;
}

export function date(t: Date, zone: Zone): string {
  return format(t, zone).slice(0, 10);
}

export function clock(t: Date, zone: Zone, seconds: boolean): string {
  return format(t, zone).slice(11, seconds ? 19 : 16);
}

/** What format wrote, or a part of it, back to RFC 3339; null if it is none. */
export function parse(text: string, zone: Zone): string | null {
  const m = /^\s*(\d{4})-(\d{1,2})-(\d{1,2})(?:[T\s]+(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?)?\s*(Z)?\s*$/.exec(text);
  if (!m) return null;
  const n = (i: number) => Number(m[i] ?? 0);
  const ms = m[7] ? Number((m[7] + '00').slice(0, 3)) : 0;
  const args = [n(1), n(2) - 1, n(3), n(4), n(5), n(6), ms] as const;
  const t = zone === 'utc' || m[8] ? new Date(Date.UTC(...args)) : new Date(...args);
  // 31 February and 25:00 roll over in Date; they are mistakes.
  const p = parts(t, zone === 'utc' || m[8] ? 'utc' : 'local');
  if (p.mo !== n(2) || p.d !== n(3) || p.h !== n(4) || p.mi !== n(5)) return null;
  return t.toISOString();
}

/** 90 s, 5 min, 3 h, 2 d: a length of time for a label. */
export function span(ms: number): string {
  const units: [number, string][] = [[86_400_000, 'd'], [3_600_000, 'h'], [60_000, 'min'], [1000, 's']];
  for (const [size, unit] of units) {
    if (ms >= size && (ms % size === 0 || ms >= 10 * size)) return Math.round(ms / size) + ' ' + unit;
  }
  return ms >= 1000 ? (ms / 1000).toFixed(1) + ' s' : Math.round(ms) + ' ms';
}

/** 1.5 MB. */
export function bytes(n: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let i = 0;
  while (n >= 1000 && i < units.length - 1) {
    n /= 1000;
    i++;
  }
  return (i && n < 10 ? n.toFixed(1) : Math.round(n)) + ' ' + units[i];
}

export function percent(share: number): string {
  if (share > 0 && share < 0.001) return '< 0.1 %';
  return (share * 100).toFixed(share < 0.1 && share > 0 ? 1 : 0) + ' %';
}

/** The name of a severity from 1 to 100, as event.LevelOf of the server. */
export function levelOf(severity: number): 'informational' | 'low' | 'medium' | 'high' | 'critical' {
  return (['informational', 'low', 'medium', 'high', 'critical'] as const)[Math.max(0, Math.min(4, Math.floor(severity / 20)))] ?? 'critical';
}

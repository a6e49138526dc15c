import { expect, test } from 'vitest';
import { bytes, format, parse, percent, span } from './time';

test('a time goes to the screen and back', () => {
  const t = '2026-03-01T12:30:05.120Z';
  expect(format(t, 'utc', true)).toBe('2026-03-01 12:30:05.120');
  expect(parse(format(t, 'utc', true), 'utc')).toBe(t);
  expect(parse(format(t, 'local', true), 'local')).toBe(t);
  expect(parse('2026-03-01', 'utc')).toBe('2026-03-01T00:00:00.000Z');
  expect(parse('2026-03-01T08:15Z', 'local')).toBe('2026-03-01T08:15:00.000Z');
});

test('what is no time is refused', () => {
  for (const s of ['', 'soon', '2026-02-31', '2026-03-01 25:00', '2026-13-01', '2026-03-01 12:60']) expect(parse(s, 'utc'), s).toBeNull();
});

test('lengths and sizes read well', () => {
  expect([1000, 90_000, 300_000, 7_200_000, 172_800_000, 1500, 20].map(span)).toEqual(['1 s', '90 s', '5 min', '2 h', '2 d', '1.5 s', '20 ms']);
  expect([0, 999, 1500, 25_000_000].map(bytes)).toEqual(['0 B', '999 B', '1.5 kB', '25 MB']);
  expect([0, 0.0001, 0.05, 0.5].map(percent)).toEqual(['0 %', '< 0.1 %', '5.0 %', '50 %']);
});

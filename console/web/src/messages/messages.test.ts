import { expect, test } from 'vitest';
import { en, type MessageKey } from './en';
import { message } from './index';
import { techniques } from './techniques';
import { zh } from './zh';

const names = (s: string) => [...s.matchAll(/\{(\w+)\}/g)].map((m) => m[1]).sort();

test('both languages have the same keys and the same blanks', () => {
  expect(Object.keys(zh).sort()).toEqual(Object.keys(en).sort());
  for (const key of Object.keys(en) as MessageKey[]) {
    expect(names(zh[key]), key).toEqual(names(en[key]));
    expect(zh[key].trim(), key).not.toBe('');
  }
});

test('every technique has both texts', () => {
  for (const [id, t] of Object.entries(techniques)) {
    expect(id).toMatch(/^T\d{4}(\.\d{3})?$/);
    expect(t.en.length, id).toBeGreaterThan(20);
    expect(t.zh.length, id).toBeGreaterThan(8);
  }
});

test('blanks are filled as text, with numbers grouped', () => {
  expect(message('en', 'hist.total', { n: 1234567 })).toBe('1,234,567 in all');
  expect(message('en', 'facets.add', { value: '<b>$&' })).toBe('Only <b>$&');
});

import { describe, expect, test } from 'vitest';
import { clause, complete, narrow, rank, wanted } from './query';

describe('narrow', () => {
  test('adds to nothing', () => expect(narrow('', 'rule.name', 'Port scan')).toBe('rule.name: "Port scan"'));
  test('joins with and', () => expect(narrow('a: 1', 'b', '2')).toBe('a: 1 and b: 2'));
  test('excludes', () => expect(narrow('a: 1', 'b', '2', true)).toBe('a: 1 and not b: 2'));
  test('keeps the meaning of or', () => expect(narrow('a: 1 OR a: 2', 'b', '3')).toBe('(a: 1 OR a: 2) and b: 3'));
  test('an or inside quotes or parentheses is none', () => {
    expect(narrow('a: "x or y"', 'b', '3')).toBe('a: "x or y" and b: 3');
    expect(narrow('(a: 1 or a: 2)', 'b', '3')).toBe('(a: 1 or a: 2) and b: 3');
  });
  test('does not add twice', () => expect(narrow('a: 1 and b: 2', 'b', '2')).toBe('a: 1 and b: 2'));
});

test('values are quoted where the language needs it', () => {
  expect(clause('f', 'plain-1.2/3')).toBe('f: plain-1.2/3');
  expect(clause('f', 'two words')).toBe('f: "two words"');
  expect(clause('f', 'or')).toBe('f: "or"');
  expect(clause('f', '2001:db8::1')).toBe('f: "2001:db8::1"');
  expect(clause('f', 'say "hi" \\ bye')).toBe('f: "say \\"hi\\" \\\\ bye"');
  expect(clause('f', '*')).toBe('f: "*"');
  expect(clause('f', '')).toBe('f: ""');
});

describe('wanted', () => {
  test('a field at the start', () => expect(wanted('sour', 4)).toEqual({ kind: 'field', field: '', prefix: 'sour', start: 0 }));
  test('a field after and', () => expect(wanted('a: 1 and sou', 12)).toMatchObject({ kind: 'field', prefix: 'sou', start: 9 }));
  test('a value', () => expect(wanted('source.ip: 10.', 14)).toEqual({ kind: 'value', field: 'source.ip', prefix: '10.', start: 11 }));
  test('a value in quotes', () => expect(wanted('rule.name: "Port', 16)).toMatchObject({ kind: 'value', prefix: 'Port', start: 11 }));
  test('nothing in the midst of a phrase', () => expect(wanted('a: "x y', 7)).toBeNull());
});

test('a completion replaces the word under the caret', () => {
  const q = 'not sour and x: 1';
  const w = wanted(q, 8);
  expect(w && complete(q, 8, w, 'source.ip')).toEqual({ text: 'not source.ip: and x: 1', caret: 15 });
  const v = wanted('rule.name: Por', 14);
  expect(v && complete('rule.name: Por', 14, v, 'Port scan')).toEqual({ text: 'rule.name: "Port scan" ', caret: 23 });
});

test('names that begin with the prefix come first', () => {
  const docs = ['destination.ip', 'ip.x', 'strip', 'other'].map((name) => ({ name }));
  expect(rank(docs, 'ip', 10).map((d) => d.name)).toEqual(['ip.x', 'destination.ip', 'strip']);
});

import { describe, expect, test } from 'vitest';
import { clause, isAddress, narrow } from './query';

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

test('addresses are known from names', () => {
  for (const a of ['192.0.2.1', '2001:db8::1', '::ffff:1.2.3.4', 'fe80::1']) expect(isAddress(a), a).toBe(true);
  for (const a of ['192.0.2', '1.2.3.400', 'a.example', '12:30', 'tls', '']) expect(isAddress(a), a).toBe(false);
});

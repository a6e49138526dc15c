import { expect, test } from 'vitest';
import type { Rec } from './api';
import { at, ends, rows, summary, text, texts, visible } from './record';

const record: Rec = {
  '@timestamp': '2026-03-01T12:00:00Z',
  event: { id: 'ab', dataset: 'tocsin.dns' },
  source: { ip: '2001:db8::1', port: 53124 },
  destination: { ip: '192.0.2.53', port: 53 },
  network: { transport: 'udp' },
  dns: { question: { name: '<b>x</b>.example', type: 'A' }, resolved_ip: ['192.0.2.1', '192.0.2.2'] },
  tocsin: { alert: { explain: [{ field: 'f', predicate: '= 1', value: '1' }] } },
};

test('fields are found by their dotted names', () => {
  expect(at(record, 'dns.question.type')).toBe('A');
  expect(at(record, 'dns.nothing.there')).toBeUndefined();
  expect(texts(record, 'dns.resolved_ip')).toEqual(['192.0.2.1', '192.0.2.2']);
  expect(text(at(record, 'tocsin.alert.explain'))).toBe('field=f predicate== 1 value=1');
});

test('every field is a row, each element of a list its own', () => {
  const all = rows(record);
  expect(all.filter((r) => r.name === 'dns.resolved_ip')).toHaveLength(2);
  expect(all.find((r) => r.name === 'tocsin.alert.explain')?.scalar).toBe(false);
  expect(all.map((r) => r.name)).toEqual(all.map((r) => r.name).sort());
});

test('one line tells who and what', () => {
  expect(ends(record)).toBe('[2001:db8::1]:53124 → 192.0.2.53:53');
  expect(summary(record)).toBe('type=A  name=<b>x</b>.example  resolved_ip=192.0.2.1, 192.0.2.2');
});

test('controls that deceive the eye are written out', () => {
  expect(visible('a\u202egpj.exe\u0007')).toBe('a\\u202egpj.exe\\u0007');
  expect(visible('مرحبا line\n2')).toBe('مرحبا line\n2');
});

test('what was written shows the value before', () => {
  const write: Rec = { ics: { operation: 'write', objects: [{ type: 'holding_register', address: 12, old_value: [230], value: [999] }, { type: 'coil', address: 1, value: [1] }] } };
  expect(summary(write)).toBe('operation=write  objects=holding_register 12: 230 → 999; coil 1: 1');
});

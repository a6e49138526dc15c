import { expect, test } from 'vitest';
import { dump } from './hex';

const hex = (s: string) => [...s].map((c) => c.charCodeAt(0).toString(16).padStart(2, '0')).join('');
const marked = (h: string, values: string[]) =>
  dump(h, values)
    .flatMap((l) => l.cells)
    .map((c) => (c.marked ? c.text : ' '))
    .join('');

test('sixteen bytes a line, and what is no text is a dot', () => {
  const lines = dump(hex('GET /index.html HTTP/1.1\r\n'));
  expect(lines.map((l) => l.offset)).toEqual([0, 16]);
  expect(lines[0]?.cells.map((c) => c.text).join('')).toBe('GET /index.html ');
  expect(lines[1]?.cells.at(-1)).toEqual({ hex: '0a', text: '·', marked: false });
});

test('matched bytes are marked, whatever their case', () => {
  expect(marked(hex('GET /Shell.PHP'), ['/shell.php'])).toBe('    /Shell.PHP');
});

test('a name is found by its labels, an address by its bytes', () => {
  expect(marked(hex('..\x04evil\x07example..'), ['evil.example'])).toBe('   evil example  ');
  expect(dump('00c6336442', ['198.51.100.66'])[0]?.cells.map((c) => c.marked)).toEqual([false, true, true, true, true]);
});

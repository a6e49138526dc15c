import { expect, test } from 'vitest';
import type { Hop } from './api';
import { layout, nodeHeight, nodeWidth } from './layout';

const hop = (from: string, to: string): Hop => ({
  from, to, start: '', end: '', flows: 1, bytes: 1, role: 'lateral', techniques: [], confidence: 1, reasons: [], evidence: [], sensors: [],
});

test('a path goes from left to right in one row', () => {
  const l = layout({ origin: 'a', path: [hop('a', 'b'), hop('b', 'c')], branches: [] });
  expect(l.nodes.map((n) => n.address)).toEqual(['a', 'b', 'c']);
  const xs = l.nodes.map((n) => n.x);
  expect(xs).toEqual([...xs].sort((p, q) => p - q));
  expect(new Set(l.nodes.map((n) => n.y)).size).toBe(1);
});

test('no two nodes overlap, whatever hangs on the path', () => {
  const l = layout({ origin: 'a', path: [hop('a', 'b'), hop('b', 'c')], branches: [hop('b', 'x'), hop('b', 'y'), hop('z', 'b'), hop('x', 'w'), hop('p', 'q'), hop('b', 'c'), hop('c', 'a'), hop('c', 'c')] });
  expect(l.nodes).toHaveLength(9);
  for (const a of l.nodes)
    for (const b of l.nodes)
      if (a !== b) expect(Math.abs(a.x - b.x) >= nodeWidth || Math.abs(a.y - b.y) >= nodeHeight).toBe(true);
  expect(l.edges).toHaveLength(9);
  expect(new Set(l.edges.map((e) => e.d)).size).toBe(9);
  for (const n of l.nodes) {
    expect(n.x + nodeWidth).toBeLessThanOrEqual(l.width);
    expect(n.y + nodeHeight).toBeLessThanOrEqual(l.height);
  }
});

test('nothing gives nothing, and circles end', () => {
  expect(layout({ path: [], branches: [] }).nodes).toEqual([]);
  expect(layout({ origin: 'a', path: [hop('a', 'b'), hop('b', 'a')], branches: [hop('q', 'r'), hop('r', 'q')] }).nodes).toHaveLength(4);
});

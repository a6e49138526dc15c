import type { Hop, Trace } from './api';

// Places the nodes of a trace from left (origin) to right (target). Traces
// are small; this is a layering by hand, the same for the same trace.

export interface Placed {
  address: string;
  x: number;
  y: number;
  onPath: boolean;
}
export interface Edge {
  hop: Hop;
  /** Index in path, or in branches if not onPath. */
  index: number;
  onPath: boolean;
  d: string;
  labelX: number;
  labelY: number;
}
export interface Layout {
  width: number;
  height: number;
  nodes: Placed[];
  edges: Edge[];
}

export const nodeWidth = 168;
export const nodeHeight = 58;
const gapX = 150;
const gapY = 46;
const margin = 20;

export function layout(t: Pick<Trace, 'path' | 'branches' | 'origin'>): Layout {
  const column = new Map<string, number>();
  const put = (a: string, c: number) => {
    if (a && !column.has(a)) column.set(a, c);
  };
  if (t.origin) put(t.origin, 0);
  for (const h of t.path) {
    put(h.from, 0);
    put(h.to, (column.get(h.from) ?? 0) + 1);
  }
  const onPath = new Set(column.keys());
  // A branch may hang on another branch, so go on until nothing is placed.
  let rest = t.branches;
  while (rest.length > 0) {
    const later: Hop[] = [];
    for (const h of rest) {
      const from = column.get(h.from);
      const to = column.get(h.to);
      if (from !== undefined) put(h.to, from + 1);
      else if (to !== undefined) put(h.from, Math.max(0, to - 1));
      else later.push(h);
    }
    const stuck = later[0];
    if (later.length === rest.length && stuck) put(stuck.from, 0);
    rest = later;
  }

  // The path keeps the top row of its column; branches stack below.
  const filled = new Map<number, number>();
  const nodes: Placed[] = [];
  const place = (a: string, path: boolean) => {
    const c = column.get(a) ?? 0;
    const row = filled.get(c) ?? 0;
    filled.set(c, row + 1);
    nodes.push({ address: a, x: margin + c * (nodeWidth + gapX), y: margin + 14 + row * (nodeHeight + gapY), onPath: path });
  };
  for (const a of onPath) place(a, true);
  for (const a of column.keys()) if (!onPath.has(a)) place(a, false);
  const byAddress = new Map(nodes.map((n) => [n.address, n]));

  // Several hops between the same two nodes fan out.
  const seen = new Map<string, number>();
  const edges: Edge[] = [];
  const draw = (hop: Hop, index: number, path: boolean) => {
    const a = byAddress.get(hop.from);
    const b = byAddress.get(hop.to);
    if (!a || !b) return;
    const pair = [hop.from, hop.to].sort().join(' ');
    const nth = seen.get(pair) ?? 0;
    seen.set(pair, nth + 1);
    edges.push({ hop, index, onPath: path, ...curve(a, b, nth) });
  };
  t.path.forEach((h, i) => draw(h, i, true));
  t.branches.forEach((h, i) => draw(h, i, false));

  const right = Math.max(0, ...nodes.map((n) => n.x + nodeWidth));
  const bottom = Math.max(0, ...nodes.map((n) => n.y + nodeHeight));
  const lowest = Math.max(0, ...edges.map((e) => e.labelY + 26));
  return { width: right + margin, height: Math.max(bottom, lowest) + margin, nodes, edges };
}

/** The nth edge between two nodes; the first is the straightest. */
function curve(a: Placed, b: Placed, nth: number): { d: string; labelX: number; labelY: number } {
  const mid = nodeHeight / 2;
  if (a.x < b.x) {
    const shift = Math.min(nth * 7, mid - 6);
    const [x1, y1, x2, y2] = [a.x + nodeWidth, a.y + mid + shift, b.x - 5, b.y + mid + shift];
    const bend = Math.max(30, (x2 - x1) / 2);
    const sag = nth * 50;
    // The label stands in the first gap, where no node can be in its way.
    const labelY = (y1 + y2) / 2 + sag * 0.75 - (y1 === y2 ? 7 : 4);
    return { d: `M${x1} ${y1} C${x1 + bend} ${y1 + sag} ${x2 - bend} ${y2 + sag} ${x2} ${y2}`, labelX: x1 + gapX / 2, labelY };
  }
  if (a.x === b.x) {
    // One above the other: around the right side.
    const [x, y1, y2, out] = [a.x + nodeWidth, a.y + mid, b.y + mid, 44 + nth * 22];
    return { d: `M${x} ${y1} C${x + out} ${y1} ${x + out} ${y2} ${x + 5} ${y2}`, labelX: x + out * 0.75, labelY: (y1 + y2) / 2 };
  }
  // Backwards: below both, where the branches leave room.
  const [x1, x2] = [a.x + nodeWidth / 2 + nth * 14, b.x + nodeWidth / 2 + nth * 14];
  const [y1, y2] = [a.y + nodeHeight, b.y + nodeHeight];
  const low = Math.max(y1, y2) + 40 + nth * 16;
  return { d: `M${x1} ${y1} C${x1} ${low} ${x2} ${low} ${x2} ${y2 + 5}`, labelX: (x1 + x2) / 2, labelY: low - 12 };
}

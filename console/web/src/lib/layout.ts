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
  anchor: 'middle' | 'start' | 'end';
}
export interface Layout {
  width: number;
  height: number;
  nodes: Placed[];
  edges: Edge[];
}

export const nodeWidth = 168;
export const nodeHeight = 58;
const gapX = 190;
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
    if (!a || !b || a === b) return; // what a node did to itself is told in the list
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
function curve(a: Placed, b: Placed, nth: number): Pick<Edge, 'd' | 'labelX' | 'labelY' | 'anchor'> {
  const mid = nodeHeight / 2;
  if (a.x < b.x) {
    // Edges leave a node as one trunk and turn early, so that the label stands
    // by the target on a stretch that is the edge's own.
    const [x1, y1, x2, y2] = [a.x + nodeWidth, a.y + mid, b.x - 5, b.y + mid + (nth === 0 ? 0 : 6)];
    if (y1 === y2) return { d: `M${x1} ${y1} L${x2} ${y2}`, labelX: (x1 + x2) / 2, labelY: y1 - 7, anchor: 'middle' };
    const turn = x2 - gapX + 5 + 58; // in the gap before the target, however far the source
    const low = y2 + nth * 44;
    const end = nth === 0 ? `L${x2} ${y2}` : `L${x2 - 40} ${low} Q${x2 - 8} ${low} ${x2} ${y2 + 8}`;
    return { d: `M${x1} ${y1} C${turn - 20} ${y1} ${turn - 44} ${low} ${turn} ${low} ${end}`, labelX: x2 - 12, labelY: low - 7, anchor: 'end' };
  }
  if (a.x === b.x) {
    // One above the other: around the right side.
    const [x, y1, y2, out] = [a.x + nodeWidth, a.y + mid, b.y + mid, 30 + nth * 16];
    return { d: `M${x} ${y1} C${x + out} ${y1} ${x + out} ${y2} ${x + 5} ${y2}`, labelX: x + out * 0.75 + 6, labelY: y2 - 14, anchor: 'start' };
  }
  // Backwards: below both, where the branches leave room.
  const [x1, x2] = [a.x + nodeWidth / 2 + nth * 14, b.x + nodeWidth / 2 + nth * 14];
  const [y1, y2] = [a.y + nodeHeight, b.y + nodeHeight];
  const low = Math.max(y1, y2) + 40 + nth * 16;
  return { d: `M${x1} ${y1} C${x1} ${low} ${x2} ${low} ${x2} ${y2 + 5}`, labelX: (x1 + x2) / 2, labelY: low - 12, anchor: 'middle' };
}

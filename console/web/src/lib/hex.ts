// Packets as people read them: sixteen bytes a line, in hexadecimal and as
// text, with the bytes marked that hold what a rule asked for.

export interface Line {
  offset: number;
  cells: { hex: string; text: string; marked: boolean }[];
}

export function bytesOf(hex: string): Uint8Array {
  const out = new Uint8Array(hex.length >> 1);
  for (let i = 0; i < out.length; i++) out[i] = Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16);
  return out;
}

/** What a value looks like on the wire: as text, a name by its labels, an IPv4 address as four bytes. */
function needles(value: string): Uint8Array[] {
  const text = new TextEncoder();
  if (/^(\d{1,3}\.){3}\d{1,3}$/.test(value)) return [Uint8Array.from(value.split('.').map(Number))];
  const out = [text.encode(value)];
  if (/^[\w-]+(\.[\w-]+)+$/.test(value)) out.push(...value.split('.').map((l) => text.encode(l)));
  return out.filter((n) => n.length > 2);
}

function mark(data: Uint8Array, values: string[]): boolean[] {
  const marked = new Array<boolean>(data.length).fill(false);
  for (const n of values.flatMap(needles)) {
    for (let i = 0; i + n.length <= data.length; i++) {
      let j = 0;
      while (j < n.length && lower(data[i + j]) === lower(n[j])) j++;
      if (j === n.length) marked.fill(true, i, i + j);
    }
  }
  return marked;
}

const lower = (b = 0) => (b >= 65 && b <= 90 ? b + 32 : b);

export function dump(hex: string, values: string[] = []): Line[] {
  const data = bytesOf(hex);
  const marked = mark(data, values);
  const lines: Line[] = [];
  for (let offset = 0; offset < data.length; offset += 16) {
    lines.push({
      offset,
      cells: [...data.slice(offset, offset + 16)].map((b, i) => ({
        hex: b.toString(16).padStart(2, '0'),
        text: b > 31 && b < 127 ? String.fromCharCode(b) : '·',
        marked: marked[offset + i] ?? false,
      })),
    });
  }
  return lines;
}

import * as api from './api';
import { at, id } from './record';

// The first page fills the screen at once; the next are there before somebody
// has scrolled to them.
const firstPage = 200;
const nextPage = 1000;

// What long lists of alerts do without: what an alert is made of takes several
// times the memory of what its row shows.
const heavy = ['explain', 'evidence', 'techniques'];

function lean(r: api.Rec): api.Rec {
  const alert = at(r, 'tocsin.alert');
  if (alert === null || typeof alert !== 'object' || Array.isArray(alert)) return r;
  const tocsin = r['tocsin'] as { [key: string]: api.Json };
  return { ...r, tocsin: { ...tocsin, alert: Object.fromEntries(Object.entries(alert).filter(([k]) => !heavy.includes(k))) } };
}

/** Records of one question, loaded page by page as somebody scrolls. */
export class List {
  items = $state.raw<api.Rec[]>([]);
  loading = $state(false);
  loaded = $state(false);
  problem = $state.raw<api.Problem | null>(null);
  more = $state(false);
  #next: string | undefined;
  #abort: AbortController | undefined;
  #params: api.Params = {};

  constructor(readonly kind: api.Kind) {}

  /** Asks anew. With keep, what is shown stays until the answer is there, and is as long after. */
  async load(params: api.Params, keep: boolean) {
    this.#abort?.abort();
    this.#params = params;
    const want = keep ? Math.min(Math.max(this.items.length, firstPage), nextPage) : firstPage;
    await this.#ask({ ...params, limit: want }, (p) => p.items.map(lean));
  }

  async loadMore() {
    if (this.loading || !this.#next) return;
    await this.#ask({ ...this.#params, limit: nextPage, cursor: this.#next }, (p) => {
      const have = new Set(this.items.map(id));
      return [...this.items, ...p.items.filter((r) => !have.has(id(r))).map(lean)];
    });
  }

  async #ask(params: api.Params, join: (p: api.RecordPage) => api.Rec[]) {
    const abort = new AbortController();
    this.#abort = abort;
    this.loading = true;
    try {
      const p = await api.search(this.kind, params, abort.signal);
      if (abort.signal.aborted) return;
      this.items = join(p);
      this.#next = p.next;
      this.more = p.next !== undefined;
      this.problem = null;
      this.loaded = true;
    } catch (e) {
      if (abort.signal.aborted) return;
      this.problem = e instanceof api.Problem ? e : new api.Problem(0, String(e));
    } finally {
      if (this.#abort === abort) this.loading = false;
    }
  }

  /** Shows a changed record in place of the old one. */
  replace(record: api.Rec) {
    const key = id(record);
    if (this.items.some((r) => id(r) === key)) this.items = this.items.map((r) => (id(r) === key ? lean(record) : r));
  }
}

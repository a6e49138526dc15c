// The whole state of the page is its address: /PAGE or /PAGE/ID, and in the
// query string what was asked.

export const pages = ['situation', 'alerts', 'events', 'incidents', 'trace', 'assets', 'rules', 'reputation', 'sensors', 'admin', 'sign-in'] as const;
export type Page = (typeof pages)[number];
export type State = Record<string, string | undefined>;

/** Parameters that go along when a person goes from one page to another. */
const kept = ['from', 'to', 'lang'];

function read(): { page: Page; id: string; params: Record<string, string> } {
  const [, page = '', id = ''] = location.pathname.split('/');
  const params = Object.fromEntries(new URLSearchParams(location.search));
  let decoded = id;
  try {
    decoded = decodeURIComponent(id);
  } catch {
    // A stray % stays as it is; the server will say that there is no such id.
  }
  return { page: pages.find((p) => p === page) ?? 'situation', id: decoded, params };
}

class Route {
  #now = $state.raw(read());

  constructor() {
    addEventListener('popstate', () => (this.#now = read()));
  }

  get page() {
    return this.#now.page;
  }
  get id() {
    return this.#now.id;
  }
  param(name: string): string {
    return this.#now.params[name] ?? '';
  }

  /** The address of a place. */
  href(page: Page, id = '', params: State = {}): string {
    const p = new URLSearchParams();
    for (const name of kept) {
      const v = name in params ? params[name] : this.#now.params[name];
      if (v) p.set(name, v);
    }
    for (const [k, v] of Object.entries(params)) {
      if (v && !kept.includes(k)) p.set(k, v);
    }
    const query = p.toString();
    return '/' + page + (id ? '/' + encodeURIComponent(id) : '') + (query ? '?' + query : '');
  }

  /** The address of this page with something changed. */
  with(changes: State, id = this.#now.id): string {
    return this.href(this.#now.page, id, { ...this.#now.params, ...changes });
  }

  go(href: string, replace = false) {
    if (href === location.pathname + location.search) return;
    if (replace) history.replaceState(null, '', href);
    else history.pushState(null, '', href);
    this.#now = read();
  }

  set(changes: State, replace = false) {
    this.go(this.with(changes), replace);
  }

  /** Follows links inside the page without loading it anew. */
  follow = (e: MouseEvent) => {
    if (e.defaultPrevented || e.button !== 0 || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey) return;
    const a = e.target instanceof Element ? e.target.closest('a') : null;
    if (!a || a.target || a.hasAttribute('download') || a.origin !== location.origin || a.pathname.startsWith('/api/')) return;
    if (a.hash && a.pathname === location.pathname && a.search === location.search) return;
    e.preventDefault();
    this.go(a.pathname + a.search);
  };
}

export const route = new Route();

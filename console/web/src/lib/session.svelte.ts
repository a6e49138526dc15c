import * as api from './api';
import { problemOf } from './ask.svelte';
import { route } from './route.svelte';

// Who uses the page, and what they may do.

class SessionState {
  now = $state.raw<api.Session | null>(null);
  problem = $state.raw<api.Problem | null>(null);

  constructor() {
    api.denied.call = () => void this.load();
  }

  async load() {
    try {
      this.#take(await api.session());
    } catch (e) {
      this.problem = problemOf(e);
    }
  }

  #take(s: api.Session) {
    this.now = s;
    this.problem = null;
    api.prove(s.csrf);
    if (s.mode === 'sign-in' && !s.user && route.page !== 'sign-in') {
      route.go(route.href('sign-in', '', { back: location.pathname + location.search }), true);
    }
  }

  async signIn(name: string, password: string) {
    this.#take(await api.signIn(name, password));
  }

  async setUp(code: string, name: string, password: string) {
    this.#take(await api.setUp(code, name, password));
  }

  async signOut() {
    await api.signOut();
    await this.load();
  }

  /** Whether the page knows who is there, so that it can ask for anything. */
  get ready(): boolean {
    return this.now !== null && (this.now.mode === 'local' || this.now.user !== undefined);
  }

  /** What a person may not do is not offered; the server refuses it all the same. */
  can(permission: string): boolean {
    const s = this.now;
    if (!s) return false;
    return s.user ? s.user.permissions.includes(permission) : s.mode === 'local';
  }

  get name(): string {
    return this.now?.user?.name ?? '';
  }
}

export const session = new SessionState();

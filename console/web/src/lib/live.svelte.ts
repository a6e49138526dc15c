import * as api from './api';

// What is stored at all, and the news that it has changed.

class Live {
  connected = $state(false);
  /** Grows whenever what a page shows may be out of date. */
  revision = $state(0);
  /** Grows when an incident has changed. */
  incidents = $state(0);
  status = $state.raw<api.Status | null>(null);
  fields = $state.raw<api.FieldDoc[]>([]);
  #seen = '';
  #timer: ReturnType<typeof setTimeout> | undefined;
  #moved = 0;
  #hear = new Set<(alert: api.Rec) => void>();

  /** Begins to listen; returns how to stop. */
  start(): () => void {
    void this.refresh();
    api.fields().then((f) => (this.fields = f), () => undefined);
    // The browser connects again by itself and says what it heard last.
    const stream = new EventSource('/api/v1/alerts/stream');
    stream.addEventListener('open', () => (this.connected = true));
    stream.addEventListener('changed', (e: MessageEvent<string>) => {
      this.connected = true;
      const now = JSON.parse(e.data) as { alerts: number; judged: number };
      const alerts = now.alerts + ' ' + now.judged;
      if (this.#seen === '') this.#seen = alerts;
      else if (this.#seen !== alerts) {
        this.#seen = alerts;
        this.#bump(200);
      } else {
        // Events came and no alert: what is shown of alerts may have grown.
        this.#bump(5000);
      }
    });
    stream.addEventListener('alert', (e: MessageEvent<string>) => {
      const { alert } = JSON.parse(e.data) as { alert: api.Rec };
      for (const hear of this.#hear) hear(alert);
    });
    stream.addEventListener('incident', () => this.incidents++);
    stream.addEventListener('reset', () => this.#bump(0));
    stream.addEventListener('error', () => (this.connected = false));
    return () => stream.close();
  }

  /** Calls with every alert that is new or has changed, until the returned function is called. */
  onAlert(hear: (alert: api.Rec) => void): () => void {
    this.#hear.add(hear);
    return () => this.#hear.delete(hear);
  }

  /** Makes the page look again after a while; many calls make one look. */
  #bump(wait: number) {
    if (this.#timer !== undefined && wait >= this.#moved) return;
    clearTimeout(this.#timer);
    this.#moved = wait;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      void this.refresh();
      this.revision++;
    }, wait);
  }

  async refresh() {
    try {
      this.status = await api.status();
    } catch {
      // The page that asks for records says what is wrong.
    }
  }
}

export const live = new Live();
